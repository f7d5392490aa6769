import { AddedTokens } from './added-tokens.js';
import { isPair, type Seam, type TextEncoder, WINDOW } from './document.js';
import { Crossings, Merging, WordMemory } from './merging.js';
import type { Recipe } from './recipe.js';
import type { TokenList } from './token-list.js';

/** Longer words are not looked up in the cache. */
const MEMORABLE = 64;

/**
 * Byte-pair encoding equivalent to Python's tokenizers, but much faster if few tokens of the vocabulary span the
 * boundary between two given characters: the text is then split there into words that can be merged separately and
 * cached. Merges are done in order of rank, and none ever crosses such a boundary, so the tokens are the same.
 */
export class BpeEncoder implements TextEncoder {
  readonly longest = WINDOW;
  private readonly normalized: Uint16Array;
  private readonly crossings = new Crossings();
  private readonly merging: Merging;
  private readonly memory = new WordMemory();
  /** Added tokens to match in the original text, and after normalizing. */
  private readonly raw: AddedTokens;
  private readonly later: AddedTokens;
  private readonly wordStart: number;

  constructor(recipe: Recipe) {
    const plain = Uint16Array.from({ length: 65_536 }, (_, unit) => unit);
    this.normalized = plain.map((unit) => recipe.replaced.get(unit) ?? unit);
    this.merging = new Merging(recipe, this.normalized);
    this.wordStart = recipe.wordStart ?? -1;
    this.raw = new AddedTokens(
      recipe.added.filter((token) => !token.normalized),
      plain,
    );
    this.later = new AddedTokens(
      recipe.added.filter((token) => token.normalized),
      this.normalized,
    );
    const merged = new Uint8Array(1 + recipe.merges.reduce((most, id) => Math.max(most, id), 0));
    for (let i = 2; i < recipe.merges.length; i += 3) merged[recipe.merges[i]!] = 1;
    for (const [token, id] of recipe.vocabulary) {
      if (merged[id] === 1) this.crossings.add(Array.from({ length: token.length }, (_, i) => token.charCodeAt(i)));
    }
  }

  /** Whether text[..at) and text[at..) together have the tokens of the whole, whatever precedes and follows. */
  mayCut(text: string, at: number): boolean {
    if (isPair(text, at) || !this.raw.mayCut(text, at) || !this.later.mayCut(text, at)) return false;
    const { normalized, crossings, wordStart } = this;
    const [a, b] = [normalized[text.charCodeAt(at - 1)]!, normalized[text.charCodeAt(at)]!];
    if (a === wordStart) {
      // Of several consecutive word starts, only the last begins a word.
      const more = at + 1 < text.length && normalized[text.charCodeAt(at + 1)] === wordStart;
      return b === wordStart && more && !crossings.has(a, b);
    }
    return b === wordStart || !crossings.has(a, b);
  }

  /**
   * A place to split a text that has no safe place; null if there is none. Either behind an added token, or between two
   * tokens, in which case `joins` must be checked for the token before and the text after.
   */
  findSeam(text: string): Seam | null {
    const stretches = this.raw.find(text, 0, text.length);
    const known = text.length - this.raw.longest;
    for (const { to, id } of stretches.reverse()) {
      if (id >= 0 && to <= known && this.raw.needsNothingAcross(text, to)) return { at: to, last: null };
    }
    const { from, to } = stretches.at(-1)!;
    return from === 0 ? this.seamOfWord(text, Math.min(to, known)) : null;
  }

  /** A place between two tokens of the word in the middle of text[..to). */
  private seamOfWord(text: string, to: number): Seam | null {
    const found = this.later.find(text, 0, to);
    if (found.length !== 1 || found[0]!.id >= 0) return null;
    let [begin, end] = [0, this.wordEnd(text, 0, to)];
    while (2 * end < to) [begin, end] = [end, this.wordEnd(text, end, to)];
    const starts = new Int32Array(4 * (end - begin));
    const count = this.merging.run(text, begin, end, starts);
    let seam: Seam | null = null;
    for (let k = 1; k + 1 < count && 2 * starts[k]! < begin + end; k++) {
      const [before, at, after] = [starts[k - 1]!, starts[k]!, starts[k + 1]!];
      if (before >= 0 && at >= 0 && after >= 0 && this.mayJoin(text, at)) seam = { at, last: text.slice(before, at) };
    }
    return seam;
  }

  private mayJoin(text: string, at: number): boolean {
    const { normalized, wordStart } = this;
    const isStart = (i: number) => normalized[text.charCodeAt(i)] === wordStart;
    // Of several consecutive word starts, only the last begins a word.
    const inWord = isStart(at) ? isStart(at - 1) && isStart(at + 1) : !isStart(at - 1);
    return (
      inWord && !isPair(text, at) && this.raw.needsNothingAcross(text, at) && this.later.needsNothingAcross(text, at)
    );
  }

  /**
   * Whether a token followed by `text` stays separate from its tokens. If every two adjacent tokens stay separate when
   * encoded together, all of them do.
   *
   * @param last the characters of one token
   */
  joins(last: string, text: string): boolean {
    const section = this.raw.find(text, 0, text.length)[0]!.to;
    const end = this.wordEnd(text, 0, this.later.find(text, 0, section)[0]!.to);
    const count = this.merging.run(text, 0, end);
    const alone = this.merging.tokens.slice(0, count);
    this.merging.run(last, 0, last.length);
    const expected = [this.merging.tokens[0]!, ...alone];
    const together = this.merging.run(last + text.slice(0, end), 0, last.length + end);
    return together === expected.length && expected.every((id, i) => id === this.merging.tokens[i]);
  }

  spell(text: string): string {
    let spelt = '';
    for (let at = 0; at < text.length; at++) spelt += String.fromCharCode(this.normalized[text.charCodeAt(at)]!);
    return spelt;
  }

  byteOf(token: string): number | undefined {
    const byte = /^<0x([0-9A-F]{2})>$/.exec(token);
    return byte ? Number.parseInt(byte[1]!, 16) : undefined;
  }

  /** Appends the tokens of a text to `into`. */
  encode(text: string, into: TokenList): void {
    for (const { from, to, id } of this.raw.find(text, 0, text.length)) {
      if (id >= 0) into.push(id);
      else this.encodeNormalized(text, from, to, into);
    }
  }

  private encodeNormalized(text: string, from: number, to: number, into: TokenList): void {
    for (const stretch of this.later.find(text, from, to)) {
      if (stretch.id >= 0) into.push(stretch.id);
      else this.encodeWords(text, stretch.from, stretch.to, into);
    }
  }

  private encodeWords(text: string, from: number, to: number, into: TokenList): void {
    for (let start = from; start < to; ) {
      const end = this.wordEnd(text, start, to);
      this.encodeWord(text, start, end, into);
      start = end;
    }
  }

  /** End of the word that begins at text[from]: the first position that no token spans, at most `to`. */
  private wordEnd(text: string, from: number, to: number): number {
    const { normalized, crossings, wordStart } = this;
    let a = normalized[text.charCodeAt(from)]!;
    for (let i = from + 1; i < to; i++) {
      const b = normalized[text.charCodeAt(i)]!;
      if (!crossings.has(a, b) && !isPair(text, i)) return i;
      if (b === wordStart && this.isWordStart(text, i, to, a)) return i;
      a = b;
    }
    return to;
  }

  /** Whether `▁?[^▁]+` matches at text[at], with a ▁ after `a`; the section ends at `to`. */
  private isWordStart(text: string, at: number, to: number, a: number): boolean {
    const { normalized, wordStart } = this;
    return a !== wordStart || (at + 1 < to && normalized[text.charCodeAt(at + 1)] !== wordStart);
  }

  private encodeWord(text: string, from: number, to: number, into: TokenList): void {
    const { merging, memory } = this;
    if (to - from > MEMORABLE) {
      const count = merging.run(text, from, to);
      into.add(merging.tokens, 0, count);
      return;
    }
    const word = text.slice(from, to);
    if (memory.find(word)) {
      into.add(memory.tokens, memory.from, memory.to);
      return;
    }
    const count = merging.run(text, from, to);
    into.add(merging.tokens, 0, count);
    memory.keep(word, merging.tokens, 0, count);
  }
}
