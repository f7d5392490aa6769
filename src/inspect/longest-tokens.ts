import type { Store } from '../activations/store.js';
import { readContexts } from '../activations/store-contexts.js';
import { tokenTexts } from '../corpus/token-texts.js';
import { Refusal } from '../errors/refusal.js';
import { openCheckpoint } from '../lm/checkpoint.js';
import { compareFingerprints } from '../safetensors/fingerprint.js';
import type { Inspection } from './figures.js';
import type { LongRow } from './survey.js';

/** Tokens of text shown before and after one. */
const [BEFORE, AFTER] = [12, 4];

/**
 * The text of every token of the store's model, by id.
 *
 * @param model its directory
 * @throws Refusal if it is a different model
 */
export async function textsOf(model: string, { manifest }: Pick<Store, 'manifest'>): Promise<string[]> {
  const checkpoint = await openCheckpoint(model);
  if (compareFingerprints(manifest.model.fingerprint, checkpoint.fingerprint) !== 'same') {
    throw new Refusal(
      `The store was harvested from another model (${manifest.model.name}) than ${model}.`,
      'Give its own model, or omit --model to see token ids.',
      'inspect/other-model',
    );
  }
  return tokenTexts(checkpoint.directory, checkpoint.config.vocabulary);
}

/**
 * Rows with their document, and with their text if token texts are given.
 *
 * @param median median norm
 */
export async function longestTokens(
  store: Store,
  rows: readonly LongRow[],
  median: number,
  texts?: readonly string[],
): Promise<Inspection['longest_tokens']> {
  const contexts = await readContexts(store, new Set(rows.map(({ context }) => context)));
  return rows.map((row) => {
    const multiple = median > 0 ? row.norm / median : 0;
    const context = contexts.get(row.context);
    if (!context) return { ...row, multiple };
    const document = context.documents[row.pos];
    if (!texts) return { ...row, multiple, document };
    const text = (from: number, to: number) =>
      Array.from(
        context.tokens.subarray(Math.max(0, from), Math.max(0, to)),
        (id) => texts[id] ?? `<token ${id}>`,
      ).join('');
    const { pos } = row;
    return {
      ...{ ...row, multiple, document },
      text: text(pos, pos + 1),
      before: text(pos - BEFORE, pos),
      after: text(pos + 1, pos + 1 + AFTER),
    };
  });
}
