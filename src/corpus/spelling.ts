import type { TextEncoder } from './bpe/document.js';
import type { Recipe } from './bpe/recipe.js';

/** Maps between text and tokens. */
export interface Spelling {
  /** The text as spelled by tokens; spelling is concatenative. */
  spelt(text: string): string;
  /** The characters of a token, or one byte of a character without a token. */
  token(id: number): string | number | undefined;
}

/** The spelling of a built-in tokenizer; its table is built on first use. */
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
