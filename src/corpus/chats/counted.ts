import { Refusal } from '../../errors/refusal.js';
import type { Spelling } from '../spelling.js';
import type { Tokenizer } from '../tokenizer.js';

/**
 * 1 for each token with a character in one of the spans. A span must not end within a character spelled by several
 * tokens: all tokens of a character belong together.
 *
 * @param spans [from, to, …] in UTF-16 units, ascending
 * @param source the text's location, for messages
 * @throws Refusal if the tokens cannot be mapped to characters
 */
export function countedTokens(
  { spelling }: Pick<Tokenizer, 'spelling'>,
  ids: ArrayLike<number>,
  text: string,
  spans: readonly number[],
  source: string,
): Uint8Array {
  if (!spelling) {
    throw new Refusal(
      'This tokenizer does not map its tokens to characters, which --roles requires.',
      'Omit --roles, or use a model whose tokenizer is built in: Gemma, GPT-2, Pythia, Llama 3, Qwen.',
      'corpus/roles-of-tokenizer',
    );
  }
  const { spelt, bounds } = speltSpans(spelling, text, spans);
  const ends = tokenEnds(spelling, ids, spelt);
  if (!ends) {
    throw new Refusal(
      `${source}: its tokens cannot be mapped to characters, which --roles requires.`,
      'Omit --roles, or remove the conversation.',
      'corpus/roles-of-tokens',
    );
  }
  const counted = new Uint8Array(ids.length);
  let span = 0;
  for (let i = 0; i < ids.length; i++) {
    const from = ends[2 * i]!;
    const to = ends[2 * i + 1]!;
    while (span < bounds.length && bounds[span + 1]! <= from) span += 2;
    if (span < bounds.length && bounds[span]! < to) counted[i] = 1;
  }
  return counted;
}

/** The text as spelled by its tokens, with the spans mapped to it. */
function speltSpans(spelling: Spelling, text: string, spans: readonly number[]): { spelt: string; bounds: number[] } {
  const bounds: number[] = [];
  let spelt = '';
  let at = 0;
  for (const bound of [...spans, text.length]) {
    spelt += spelling.spelt(text.slice(at, bound));
    bounds.push(spelt.length);
    at = bound;
  }
  bounds.pop();
  return { spelt, bounds };
}

/** [from, to) of each token within their joint spelling; undefined if they spell something else. */
function tokenEnds(spelling: Spelling, ids: ArrayLike<number>, spelt: string): Int32Array | undefined {
  const ends = new Int32Array(2 * ids.length);
  let at = 0;
  for (let i = 0; i < ids.length; ) {
    const token = spelling.token(ids[i]!);
    if (typeof token === 'number') {
      // A character without a token is spelled in bytes.
      const width = (spelt.codePointAt(at) ?? 0) > 0xffff ? 2 : 1;
      const bytes = Buffer.from(spelt.slice(at, at + width));
      for (const byte of bytes) {
        if (spelling.token(ids[i] ?? -1) !== byte) return undefined;
        ends.set([at, at + width], 2 * i++);
      }
      at += width;
    } else {
      if (token === undefined || !spelt.startsWith(token, at)) return undefined;
      ends.set([at, at + token.length], 2 * i++);
      at += token.length;
    }
  }
  return at === spelt.length ? ends : undefined;
}
