import { Refusal } from '../../errors/refusal.js';
import { Crossings, Merging, WordMemory } from './merging.js';
import type { AddedToken, Recipe } from './recipe.js';

/** Words longer than this are not looked up in the memory. */
const MEMORABLE = 64;

/** A place at which a text may be cut. */
interface Seam {
  readonly at: number;
  /** The characters of the token before it, where what follows must join them; null where nothing can go wrong. */
  readonly last: string | null;
}

/** Whether text[at] is the second half of a character. */
const isPair = (text: string, at: number) =>
  (text.charCodeAt(at) & 0xfc00) === 0xdc00 && (text.charCodeAt(at - 1) & 0xfc00) === 0xd800;

/**
 * Byte-pair encoding as Python's tokenizers do it, much faster where a vocabulary's tokens do not go on over most
 * boundaries between two characters: a text falls apart there into words that can be merged alone, and be remembered.
 * Merges are done in the order of their ranks, and no merge ever crosses such a boundary, so the tokens are the same.
 */
export class BpeEncoder {
  private readonly normalized: Uint16Array;
  private readonly crossings = new Crossings();
  private readonly merging: Merging;
  private readonly memory = new WordMemory();
  /** Added tokens that are looked for in the text itself, and after normalizing. */
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

  /** Whether text[..at) and text[at..) have the tokens of the whole, whatever stands before and after. */
  mayCut(text: string, at: number): boolean {
    if (isPair(text, at) || !this.raw.mayCut(text, at) || !this.later.mayCut(text, at)) return false;
    const { normalized, crossings, wordStart } = this;
    const [a, b] = [normalized[text.charCodeAt(at - 1)]!, normalized[text.charCodeAt(at)]!];
    if (a === wordStart) {
      // Of several word starts, only the last begins a word.
      const more = at + 1 < text.length && normalized[text.charCodeAt(at + 1)] === wordStart;
      return b === wordStart && more && !crossings.has(a, b);
    }
    return b === wordStart || !crossings.has(a, b);
  }

  /**
   * Where a text can be cut in which no place is safe: 0 where there is none. Behind an added token; or between two
   * tokens, and then `joins` has to be asked of the token before and the text after.
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
    // Of several word starts only the last begins a word.
    const inWord = isStart(at) ? isStart(at - 1) && isStart(at + 1) : !isStart(at - 1);
    return (
      inWord && !isPair(text, at) && this.raw.needsNothingAcross(text, at) && this.later.needsNothingAcross(text, at)
    );
  }

  /**
   * Whether a token is followed by the tokens of `text` where their characters follow each other: where every two
   * tokens that follow each other would be left alone by themselves, all of them are.
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

  /** Adds the tokens of a text to `into`. */
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

  /** Where the word ends that begins at text[from]: the first place at which no token goes on, `to` at the latest. */
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

  /** Whether `▁?[^▁]+` begins at text[at], a ▁ after `a`; the section ends at `to`. */
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

/** Characters (UTF-16 units) that are encoded at a time. */
const WINDOW = 2 ** 16;

/** The tokens of one document, whose text comes in pieces; of text, it holds a window and the piece. */
export class DocumentEncoder {
  private readonly list = new TokenList();
  private pending = '';
  /** The characters of the token before `pending`, where its tokens must join them. */
  private last: string | null = null;

  /** @param source the document, for messages */
  constructor(
    private readonly encoder: BpeEncoder,
    private readonly source: string,
    private readonly window = WINDOW,
  ) {}

  /** The tokens that are known by now; `piece` is text in any amount. */
  *push(piece: string): Generator<Int32Array> {
    for (let at = 0; at < piece.length; ) {
      const more = Math.min(piece.length - at, this.window - this.pending.length);
      this.pending += piece.slice(at, at + more);
      at += more;
      if (this.pending.length === this.window) yield this.shorten();
    }
  }

  /** The tokens of what is left. */
  *end(): Generator<Int32Array> {
    if (this.pending !== '') yield this.encode(this.pending.length);
  }

  /** Encodes the window up to the last place at which no token can go on. */
  private shorten(): Int32Array {
    for (let at = this.window - 1; at > 0; at--) if (this.encoder.mayCut(this.pending, at)) return this.encode(at);
    const seam = this.encoder.findSeam(this.pending);
    if (!seam) throw this.cannotBeCut();
    const tokens = this.encode(seam.at);
    this.last = seam.last;
    return tokens;
  }

  private encode(to: number): Int32Array {
    const text = this.pending.slice(0, to);
    if (this.last !== null && !this.encoder.joins(this.last, text)) throw this.cannotBeCut();
    this.last = null;
    this.pending = this.pending.slice(to);
    this.encoder.encode(text, this.list);
    return this.list.take();
  }

  private cannotBeCut(): Refusal {
    const begin = JSON.stringify(this.pending.slice(0, 20));
    return new Refusal(
      `${this.source}: the text from ${begin} on, ${this.window} characters, has no place where its tokens can be told apart.`,
      'Break it by a space or a line, or leave it out.',
      'corpus/no-cut',
    );
  }
}

// As Rust's regular expressions have \s and \w, which Python's tokenizers ask.
const SPACE = /\p{White_Space}/u;
const WORD = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;

/** First or last unit of a token that must be a single word, last unit of one that takes the space after it. */
const PIECE_EDGE = { wordBegins: 1, wordEnds: 2, takesSpace: 4 };

/** A stretch of text: an added token, or, where `id` is −1, what lies between two. */
interface Stretch {
  readonly from: number;
  readonly to: number;
  readonly id: number;
}

/**
 * Finds added tokens of one kind (to be looked for before or after normalizing) as Python's tokenizers do: the leftmost,
 * of several the longest, none that begins within another.
 */
class AddedTokens {
  /** Whether a unit begins a token. */
  private readonly first = new Uint8Array(65_536);
  /** From node × 65,536 + unit to the node after it; node 0 is the root. */
  private readonly edges = new Map<number, number>();
  /** Which pairs of units stand next to each other within a token. */
  private readonly within = new Crossings();
  /** What a unit is the first or the last of: bits of EDGE. */
  private readonly atEdge = new Uint8Array(65_536);
  private readonly lstrip: boolean;
  private readonly rstrip: boolean;
  /** Units of the longest token. */
  readonly longest: number;
  /** The token that ends at each node. */
  private readonly ends: (AddedToken | undefined)[] = [undefined];
  readonly tokens: readonly AddedToken[];

  /** @param normalized [65536] what each unit of the text is taken for; of the tokens' contents, too */
  constructor(
    tokens: readonly AddedToken[],
    private readonly normalized: Uint16Array,
  ) {
    this.tokens = tokens;
    this.lstrip = tokens.some((token) => token.lstrip);
    this.rstrip = tokens.some((token) => token.rstrip);
    this.longest = Math.max(0, ...tokens.map(({ content }) => content.length));
    for (const token of tokens) {
      let node = 0;
      for (let i = 0; i < token.content.length; i++) {
        const edge = node * 65_536 + normalized[token.content.charCodeAt(i)]!;
        node = this.edges.get(edge) ?? this.ends.push(undefined) - 1;
        this.edges.set(edge, node);
      }
      const units = Array.from({ length: token.content.length }, (_, i) => normalized[token.content.charCodeAt(i)]!);
      this.within.add(units);
      const [begin, end] = [units[0]!, units.at(-1)!];
      this.first[begin] = 1;
      if (token.singleWord) {
        this.atEdge[begin]! |= PIECE_EDGE.wordBegins;
        this.atEdge[end]! |= PIECE_EDGE.wordEnds;
      }
      if (token.rstrip) this.atEdge[end]! |= PIECE_EDGE.takesSpace;
      // As in Python, the first of two that are the same after normalizing.
      this.ends[node] ??= token;
    }
  }

  /** Cuts text[from..to) into stretches. */
  find(text: string, from: number, to: number): Stretch[] {
    if (this.tokens.length === 0) return from < to ? [{ from, to, id: -1 }] : [];
    const into: Stretch[] = [];
    const { first, normalized } = this;
    let done = from;
    for (let i = from; i < to; i++) {
      if (first[normalized[text.charCodeAt(i)]!] === 0) continue;
      const token = this.longestAt(text, i, to);
      if (!token) continue;
      let [start, stop] = [i, i + token.content.length];
      // A match is left behind even where it counts for nothing.
      i = stop - 1;
      if (token.singleWord && (this.isWordBefore(text, start, from) || this.isWordAt(text, stop, to))) continue;
      if (token.lstrip) {
        while (start > from && this.isSpace(text, start - 1)) start--;
        start = Math.max(start, done);
      }
      if (token.rstrip) while (stop < to && this.isSpace(text, stop)) stop++;
      if (done < start) into.push({ from: done, to: start, id: -1 });
      into.push({ from: start, to: stop, id: token.id });
      done = stop;
    }
    if (done < to) into.push({ from: done, to, id: -1 });
    return into;
  }

  private longestAt(text: string, from: number, to: number): AddedToken | undefined {
    let found: AddedToken | undefined;
    let node = 0;
    for (let i = from; i < to; i++) {
      const next = this.edges.get(node * 65_536 + this.normalized[text.charCodeAt(i)]!);
      if (next === undefined) break;
      node = next;
      found = this.ends[node] ?? found;
    }
    return found;
  }

  /** Whether what is found on either side of text[at] is found where the text is cut there, whatever surrounds it. */
  mayCut(text: string, at: number): boolean {
    if (this.tokens.length === 0) return true;
    return !this.within.has(this.unit(text, at - 1), this.unit(text, at)) && this.needsNothingAcross(text, at);
  }

  /** The same, where it is known that no token goes on over the place. */
  needsNothingAcross(text: string, at: number): boolean {
    const [a, b] = [this.atEdge[this.unit(text, at - 1)]!, this.atEdge[this.unit(text, at)]!];
    if ((a & PIECE_EDGE.wordEnds) !== 0 || (b & PIECE_EDGE.wordBegins) !== 0) return false;
    if (this.lstrip && this.isSpace(text, at - 1)) return false;
    return !(
      this.rstrip &&
      this.isSpace(text, at) &&
      ((a & PIECE_EDGE.takesSpace) !== 0 || this.isSpace(text, at - 1))
    );
  }

  private unit(text: string, at: number): number {
    return this.normalized[text.charCodeAt(at)]!;
  }

  private isSpace(text: string, at: number): boolean {
    return SPACE.test(String.fromCharCode(this.unit(text, at)));
  }

  private isWordAt(text: string, at: number, to: number): boolean {
    return at < to && WORD.test(String.fromCodePoint(this.point(text, at)));
  }

  private isWordBefore(text: string, at: number, from: number): boolean {
    if (at === from) return false;
    const pair = at - 2 >= from && text.codePointAt(at - 2)! > 0xffff;
    return WORD.test(String.fromCodePoint(this.point(text, pair ? at - 2 : at - 1)));
  }

  private point(text: string, at: number): number {
    const point = text.codePointAt(at)!;
    return point > 0xffff ? point : this.normalized[point]!;
  }
}

/** Tokens, one after another, in memory that grows. */
class TokenList {
  private held = new Int32Array(1024);
  length = 0;

  push(token: number): void {
    if (this.length === this.held.length) this.grow(1);
    this.held[this.length++] = token;
  }

  /** Adds tokens[from..to). */
  add(tokens: Int32Array, from: number, to: number): void {
    if (this.length + to - from > this.held.length) this.grow(to - from);
    const { held } = this;
    let at = this.length;
    for (let i = from; i < to; i++) held[at++] = tokens[i]!;
    this.length = at;
  }

  /** A copy of what is held, which is then let go of. */
  take(): Int32Array {
    const taken = this.held.slice(0, this.length);
    this.length = 0;
    return taken;
  }

  private grow(more: number): void {
    const held = new Int32Array(2 * (this.held.length + more));
    held.set(this.held.subarray(0, this.length));
    this.held = held;
  }
}
