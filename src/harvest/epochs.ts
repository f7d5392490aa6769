import { batches, type Context, countActivations, type LeftOut } from '../corpus/contexts.js';
import { tooFewTokens } from '../corpus/enough-text.js';

/**
 * Groups of `size` contexts of a corpus that is read again whenever it ends, without end. Each reading ends with the
 * group that is left, as a single one does.
 *
 * @param again called when the corpus has ended for the first time, with the rows of one reading
 * @throws Refusal when a reading gives no row
 */
export async function* epochs(
  contexts: () => AsyncIterable<Context>,
  size: number,
  { leftOut, corpus, wanted }: { readonly leftOut: LeftOut; readonly corpus: string; readonly wanted: number },
  again: (rows: number) => void,
): AsyncGenerator<Context[]> {
  for (let epoch = 0; ; epoch++) {
    let rows = 0;
    for await (const group of batches(contexts(), size)) {
      rows += rowsOfGroup(group, leftOut);
      yield group;
    }
    if (rows === 0) throw tooFewTokens(corpus, 0, wanted);
    if (epoch === 0) again(rows);
  }
}

/** Rows that a forward pass over the group gives, known from its tokens alone. */
export function rowsOfGroup(group: readonly Context[], leftOut: LeftOut): number {
  return group.reduce((sum, context) => sum + countActivations(context, leftOut), 0);
}
