/** A stretch of a token: text as it is, or a mark in the place of white space that nobody would see. */
export interface TokenPiece {
  readonly text: string;
  readonly mark: boolean;
}

const MARKS: Readonly<Record<string, string>> = { ' ': '·', '▁': '·', '\n': '↵', '\r': '␍', '\t': '⇥', '\u00a0': '⍽' };

/** SentencePiece writes a space as U+2581. */
const WHITE = /[ ▁\n\r\t\u00a0]+/g;

/**
 * A token standing alone, in a list: every white space is a mark, and an empty token is ∅.
 */
export function tokenPieces(token: string): TokenPiece[] {
  if (token === '') return [{ text: '∅', mark: true }];
  return split(token, (white) => [...white].map((one) => MARKS[one]).join(''));
}

/**
 * A token in running text: spaces are spaces; what would break the line, or disappear in it, is a mark.
 */
export function runningPieces(token: string): TokenPiece[] {
  return split(token, (white) =>
    /^[ ▁\u00a0]+$/.test(white) ? null : [...white].map((one) => (one === '▁' ? ' ' : (MARKS[one] ?? one))).join(''),
  );
}

/** The text of a token without marks, for labels that are read aloud. */
export function spokenToken(token: string): string {
  return token.replaceAll('▁', ' ').trim() || (token === '' ? 'empty' : 'white space');
}

/** @param markOf marks in the place of white space; null: the space itself */
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
