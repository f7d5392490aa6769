import { readFileSync } from 'node:fs';
import { DocumentEncoder, type TextEncoder } from '../../../src/corpus/bpe/document.js';
import type { Generator } from '../../../src/random/generator.js';

/** What a case of the golden tokenizers has other than the bundled one. */
export interface Edits {
  readonly pre_tokenizer?: unknown;
  readonly added_tokens?: readonly { readonly id: number; readonly content: string }[];
  readonly vocab?: Readonly<Record<string, number>>;
  readonly merges?: readonly (readonly [string, string])[];
}

export interface TokenizerFile extends Record<string, unknown> {
  readonly added_tokens: readonly { readonly id: number; readonly content: string }[];
  readonly model: { readonly vocab: Record<string, number>; readonly merges: unknown[] } & Record<string, unknown>;
}

const read = (path: string) => JSON.parse(readFileSync(path, 'utf8'));
export const BUNDLED = read('assets/tiny-gemma/tokenizer.json') as TokenizerFile;
export const CONFIG = read('assets/tiny-gemma/tokenizer_config.json') as Record<string, unknown>;
export const GOLDEN = read('test/golden/tokenizers.json') as {
  readonly texts: readonly string[];
  readonly cases: readonly { readonly name: string; readonly edits: Edits; readonly ids: readonly number[][] }[];
};

/** The bundled tokenizer.json with edits, as scripts/golden_tokenizer.py makes it. */
export function edited({ vocab, merges, ...rest }: Edits): TokenizerFile {
  const file = { ...BUNDLED, ...rest };
  const added = Object.fromEntries(file.added_tokens.map(({ id, content }) => [content, id]));
  const model = {
    ...BUNDLED.model,
    vocab: { ...added, ...BUNDLED.model.vocab, ...vocab },
    merges: [...(merges ?? []), ...BUNDLED.model.merges],
  };
  return { ...file, model };
}

/** The tokens of a text that comes in these pieces. */
export function encodePieces(encoder: TextEncoder, pieces: Iterable<string>, window?: number): number[] {
  const document = new DocumentEncoder(encoder, 'a text', window);
  const ids: number[] = [];
  for (const piece of pieces) for (const some of document.push(piece)) ids.push(...some);
  for (const some of document.end()) ids.push(...some);
  return ids;
}

/** A text in pieces of random lengths, cut anywhere but within a character. */
export function piecesOf(text: string, random: Generator, longest: number): string[] {
  const characters = [...text];
  const pieces: string[] = [];
  for (let at = 0; at < characters.length; ) {
    const count = 1 + random.below(longest);
    pieces.push(characters.slice(at, at + count).join(''));
    at += count;
  }
  return pieces;
}

const PARTS = [
  ...[
    'a',
    'b',
    'th',
    'e',
    'end',
    ' ',
    '  ',
    '   ',
    '\n',
    '\n\n',
    '\t',
    '▁',
    '>',
    '<',
    '</',
    '=',
    '==',
    '<bos>',
    '<eos>',
  ],
  ...[
    '<l>',
    '<r>',
    '<b>',
    '<n>',
    'ab',
    'abcd',
    'é',
    'e\u0301',
    '中',
    '中文',
    '。',
    '😀',
    '\u00a0',
    'x',
    'y',
    '#tag',
    '_',
    '.',
  ],
  ...['\u0301', '\ufeff', 'λόγος', '\r\n', '\u0000', '\u200d', '\ufffd', '𝔘', 'Senate', 'of the', ', '],
];

/** A text of random parts, or of random characters. */
export function randomText(random: Generator, parts: number): string {
  const any = random.below(4) === 0;
  let text = '';
  for (let k = random.below(parts); k > 0; k--) {
    text += any ? String.fromCodePoint(32 + random.below(0xd700)) : PARTS[random.below(PARTS.length)];
    // A row of one part, now and then.
    if (random.below(40) === 0) text += PARTS[random.below(PARTS.length)]!.repeat(random.below(60));
  }
  return text;
}
