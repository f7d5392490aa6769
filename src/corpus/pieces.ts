/**
 * A text in pieces of at most `longest` characters (UTF-16 units), each cut before a space that follows something else,
 * where there is one in the second half of the piece. SentencePiece lets no token go on over the beginning of a word, so
 * that the pieces have the tokens of the whole; where there is no space, a token may be cut in two. No character is.
 */
export function* piecesOf(text: string, longest: number): Generator<string> {
  let from = 0;
  while (text.length - from > longest) {
    const to = cutOf(text, from, from + longest);
    yield text.slice(from, to);
    from = to;
  }
  yield text.slice(from);
}

const isSpace = (unit: number) => unit === 0x20;
const isHighSurrogate = (unit: number) => unit >= 0xd800 && unit < 0xdc00;

function cutOf(text: string, from: number, most: number): number {
  for (let at = most; at > (from + most) / 2; at--) {
    if (isSpace(text.charCodeAt(at)) && !isSpace(text.charCodeAt(at - 1))) return at;
  }
  return isHighSurrogate(text.charCodeAt(most - 1)) && most - from > 1 ? most - 1 : most;
}
