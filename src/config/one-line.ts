/** Longest sentence: what a file says may be quoted in it, and may be of any length. */
const LONGEST = 2000;

/**
 * A text as a part of one line: what a file says goes to a terminal in messages, and must neither break the line nor
 * command the terminal. Control characters are escaped as JSON does; what is too long is cut in the middle.
 */
export function oneLine(text: string): string {
  const cut = text.length > LONGEST ? `${text.slice(0, LONGEST / 2)} … ${text.slice(text.length - LONGEST / 2)}` : text;
  return cut.replace(
    /[\p{Cc}\p{Cs}\u2028\u2029]/gu,
    (character) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`,
  );
}
