/** A piece of a token: text, or a symbol in place of invisible white space. */
export interface TokenPiece {
  readonly text: string;
  readonly mark: boolean;
}

const MARKS: Readonly<Record<string, string>> = { ' ': '·', '▁': '·', '\n': '↵', '\r': '␍', '\t': '⇥', '\u00a0': '⍽' };

/** SentencePiece writes a space as U+2581. */
const WHITE = /[ ▁\n\r\t\u00a0]+/g;

/** A byte of a character that the vocabulary does not have, as SentencePiece writes it. */
const BYTE = /^<0x([0-9A-F]{2})>$/;

/** What a token of one byte stands for, as a mark: a sign of ASCII, or white space; undefined for other tokens. */
function byteMark(token: string): string | undefined {
  const hex = BYTE.exec(token)?.[1];
  if (hex === undefined) return undefined;
  const sign = String.fromCharCode(Number.parseInt(hex, 16));
  return MARKS[sign] ?? (/^[!-~]$/.test(sign) ? sign : undefined);
}

/** A token as its vocabulary writes it, where it is shown as something else. */
export const writtenToken = (token: string): string | undefined => (byteMark(token) === undefined ? undefined : token);

/**
 * A token by itself, in a list: white space is replaced by symbols, and an empty token is ∅.
 */
export function tokenPieces(token: string): TokenPiece[] {
  if (token === '') return [{ text: '∅', mark: true }];
  const byte = byteMark(token);
  if (byte !== undefined) return [{ text: byte, mark: true }];
  return split(token, (white) => [...white].map((one) => MARKS[one]).join(''));
}

/**
 * A token in running text: spaces are spaces; characters that would break the line or disappear are symbols.
 */
export function runningPieces(token: string): TokenPiece[] {
  const byte = byteMark(token);
  if (byte !== undefined) return [{ text: byte, mark: true }];
  return split(token, (white) =>
    /^[ ▁\u00a0]+$/.test(white) ? null : [...white].map((one) => (one === '▁' ? ' ' : (MARKS[one] ?? one))).join(''),
  );
}

/** The text of a token without symbols, for screen readers. */
export function spokenToken(token: string): string {
  return byteMark(token) ?? (token.replaceAll('▁', ' ').trim() || (token === '' ? 'empty' : 'white space'));
}

/** The first tokens, those that were searched for before the others: they are why a row is in the list. */
export function foremostTokens(tokens: readonly string[], searched: string, count: number): string[] {
  const hits = tokens.filter((token) => isHit(token, searched));
  return [...hits, ...tokens.filter((token) => !hits.includes(token))].slice(0, count);
}

/** Does a token have the text that was searched for, in any case? */
export function isHit(token: string, searched: string): boolean {
  const wanted = searched
    .replace(/^"(.+)"$/s, '$1')
    .trim()
    .toLowerCase();
  return wanted !== '' && token.toLowerCase().includes(wanted);
}

/** @param markOf symbols in place of white space; null: the space itself */
function split(token: string, markOf: (white: string) => string | null): TokenPiece[] {
  const pieces: TokenPiece[] = [];
  let end = 0;
  for (const { 0: white, index } of token.matchAll(WHITE)) {
    if (index > end) pieces.push({ text: token.slice(end, index), mark: false });
    const mark = markOf(white);
    pieces.push(mark === null ? { text: white.replaceAll('▁', ' '), mark: false } : { text: mark, mark: true });
    end = index + white.length;
  }
  if (end < token.length) pieces.push({ text: token.slice(end), mark: false });
  return pieces;
}
