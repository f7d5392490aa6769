/**
 * A word of a command as bash and zsh parse it; characters that no page can show (controls, noncharacters) are escaped.
 */
export function shellWord(word: string): string {
  if (/^[\w./:=@%+,-]+$/.test(word)) return word;
  const unseen = /[\p{Cc}\p{Cs}\p{Noncharacter_Code_Point}]/u;
  if (!unseen.test(word)) return `'${word.replaceAll("'", `'\\''`)}'`;
  const characters = [...word].map((character) => {
    if (unseen.test(character))
      return [...Buffer.from(character)].map((byte) => `\\${byte.toString(8).padStart(3, '0')}`).join('');
    return /['\\]/.test(character) ? `\\${character}` : character;
  });
  return `$'${characters.join('')}'`;
}
