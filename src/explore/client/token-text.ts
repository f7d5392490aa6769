/** A piece of a token: text, or a symbol in place of invisible white space. */
export interface TokenPiece {
  readonly text: string;
  readonly mark: boolean;
}

const MARKS: Readonly<Record<string, string>> = { ' ': '·', '▁': '·', '\n': '↵', '\r': '␍', '\t': '⇥', '\u00a0': '⍽' };

/** SentencePiece writes a space as U+2581. */
const WHITE = /[ ▁\n\r\t\u00a0]+/g;

/**
 * A token by itself, in a list: white space is replaced by symbols, and an empty token is ∅.
 */
export function tokenPieces(token: string): TokenPiece[] {
  if (token === '') return [{ text: '∅', mark: true }];
  return split(token, (white) => [...white].map((one) => MARKS[one]).join(''));
}

/**
 * A token in running text: spaces are spaces; characters that would break the line or disappear are symbols.
 */
export function runningPieces(token: string): TokenPiece[] {
  return split(token, (white) =>
    /^[ ▁\u00a0]+$/.test(white) ? null : [...white].map((one) => (one === '▁' ? ' ' : (MARKS[one] ?? one))).join(''),
  );
}

/** The text of a token without symbols, for screen readers. */
export function spokenToken(token: string): string {
  return token.replaceAll('▁', ' ').trim() || (token === '' ? 'empty' : 'white space');
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
