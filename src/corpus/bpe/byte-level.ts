import { AddedTokens } from './added-tokens.js';
import { BYTE_CHARACTERS, type ByteLevelRecipe } from './byte-level-recipe.js';
import { isPair, type TextEncoder } from './document.js';
import { Merging, WordMemory } from './merging.js';
import type { TokenList } from './token-list.js';

/** Longer words are not looked up in the cache. */
const MEMORABLE = 64;

const SPACE = /^\p{White_Space}$/u;
const LETTER = /^\p{L}$/u;
/** A character that ends a word of letters and does not compose with the one before it. */
const ENDS_LETTERS = /^[^\p{L}\p{M}\p{White_Space}]$/u;
const DIGIT = /\p{N}/u;
const DIGITS_ALONE = /\p{N}|[^\p{N}]+/gu;

/** Byte-pair encoding over bytes, equivalent to Python's tokenizers. */
export class ByteLevelEncoder implements TextEncoder {
  readonly longest = 2 ** 20;
  private readonly merging: Merging;
  private readonly memory = new WordMemory();
  /** Added tokens to match in the original text, and after normalisation. */
  private readonly raw: AddedTokens;
  private readonly later: AddedTokens;

  constructor(private readonly recipe: ByteLevelRecipe) {
    const plain = Uint16Array.from({ length: 65_536 }, (_, unit) => unit);
    // Every byte is a character of the vocabulary, so there is no byte fallback.
    this.merging = new Merging({ ...recipe, bytes: new Int32Array(256).fill(-1) }, plain);
    const { added } = recipe;
    this.raw = new AddedTokens(
      added.filter(({ normalized }) => !normalized),
      plain,
    );
    const composed = added
      .filter(({ normalized }) => normalized)
      .map((token) => ({ ...token, content: this.compose(token.content) }));
    this.later = new AddedTokens(composed, plain);
  }

  private compose(text: string): string {
    return this.recipe.composed ? text.normalize('NFC') : text;
  }

  /** Between two words that cannot be extended by what follows, with no lookahead across the boundary. */
  mayCut(text: string, at: number): boolean {
    if (isPair(text, at) || !this.raw.mayCut(text, at) || !this.later.mayCut(text, at)) return false;
    const before = String.fromCodePoint(text.codePointAt(isPair(text, at - 1) ? at - 2 : at - 1)!);
    const after = String.fromCodePoint(text.codePointAt(at)!);
    const { takesLineEnds } = this.recipe.pattern;
    const isLineEnd = after === '\n' || after === '\r';
    if (SPACE.test(after)) return !SPACE.test(before) && !(takesLineEnds && isLineEnd);
    if (takesLineEnds && before === '\n') return ENDS_LETTERS.test(after) || LETTER.test(after);
    return LETTER.test(before) && ENDS_LETTERS.test(after);
  }

  findSeam(): null {
    return null;
  }

  joins(): boolean {
    return true;
  }

  spell(text: string): string {
    return Array.from(Buffer.from(this.compose(text)), (byte) => BYTE_CHARACTERS[byte]!).join('');
  }

  /** Every byte has its own character. */
  byteOf(): undefined {
    return undefined;
  }

  encode(text: string, into: TokenList): void {
    for (const stretch of this.raw.find(text, 0, text.length)) {
      if (stretch.id >= 0) into.push(stretch.id);
      else this.encodeComposed(this.compose(text.slice(stretch.from, stretch.to)), into);
    }
  }

  private encodeComposed(text: string, into: TokenList): void {
    for (const { from, to, id } of this.later.find(text, 0, text.length)) {
      if (id >= 0) into.push(id);
      else this.encodeWords(text.slice(from, to), into);
    }
  }

  private encodeWords(text: string, into: TokenList): void {
    const { digitsAlone, pattern } = this.recipe;
    if (digitsAlone && DIGIT.test(text)) {
      for (const [piece] of text.matchAll(DIGITS_ALONE)) this.encodeBy(pattern.words, piece, into);
    } else this.encodeBy(pattern.words, text, into);
  }

  private encodeBy(words: RegExp, text: string, into: TokenList): void {
    words.lastIndex = 0;
    for (let match = words.exec(text); match; match = words.exec(text)) this.encodeWord(match[0], into);
  }

  private encodeWord(word: string, into: TokenList): void {
    const { merging, memory, recipe } = this;
    if (word.length <= MEMORABLE && memory.find(word)) {
      into.add(memory.tokens, memory.from, memory.to);
      return;
    }
    const spelt = Array.from(Buffer.from(word), (byte) => BYTE_CHARACTERS[byte]!).join('');
    const whole = recipe.wholeWords ? recipe.vocabulary.get(spelt) : undefined;
    const tokens = whole === undefined ? merging : { tokens: Int32Array.of(whole) };
    const count = whole === undefined ? merging.run(spelt, 0, spelt.length) : 1;
    into.add(tokens.tokens, 0, count);
    if (word.length <= MEMORABLE) memory.keep(word, tokens.tokens, 0, count);
  }
}
