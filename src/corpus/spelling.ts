import type { TextEncoder } from './bpe/document.js';
import type { Recipe } from './bpe/recipe.js';

/** How tokens are laid over a text. */
export interface Spelling {
  /** The text as tokens spell it; what two parts spell, their whole spells. */
  spelt(text: string): string;
  /** What a token spells: its characters, or one byte of a character that has no token. */
  token(id: number): string | number | undefined;
}

/** That of a tokenizer that is built in; the table is made when a token is asked for. */
export function spellingOf(
  { vocabulary, added }: Pick<Recipe, 'vocabulary' | 'added'>,
  encoder: TextEncoder,
): Spelling {
  let tokens: Map<number, string | number> | undefined;
  const read = () => {
    const read = new Map<number, string | number>();
    for (const [token, id] of vocabulary) read.set(id, encoder.byteOf(token) ?? token);
    for (const { id, content } of added) read.set(id, encoder.spell(content));
    return read;
  };
  return {
    spelt: (text) => encoder.spell(text),
    token: (id) => {
      tokens ??= read();
      return tokens.get(id);
    },
  };
}
