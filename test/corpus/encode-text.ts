import type { Tokenizer } from '../../src/corpus/tokenizer.js';

/** The tokens of a document whose text comes in these pieces. */
export function encodeText(tokenizer: Tokenizer, ...pieces: string[]): number[] {
  const document = tokenizer.begin('a text');
  const ids: number[] = [];
  for (const piece of pieces) for (const some of document.push(piece)) ids.push(...some);
  for (const some of document.end()) ids.push(...some);
  return ids;
}
