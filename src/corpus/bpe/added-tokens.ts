import { Crossings } from './merging.js';
import type { AddedToken } from './recipe.js';

// \s and \w as in Rust's regular expressions, which Python's tokenizers use.
const SPACE = /\p{White_Space}/u;
const WORD = /[\p{Alphabetic}\p{M}\p{Nd}\p{Pc}\p{Join_Control}]/u;

/** First or last unit of a single-word token; last unit of a token that takes the space after it. */
const PIECE_EDGE = { wordBegins: 1, wordEnds: 2, takesSpace: 4 };

/** A stretch of text: an added token, or, if `id` is −1, the text between two. */
interface Stretch {
  readonly from: number;
  readonly to: number;
  readonly id: number;
}

/**
 * Finds added tokens of one kind (matched before or after normalizing) like Python's tokenizers: the leftmost match,
 * the longest of several, no overlaps.
 */
export class AddedTokens {
  /** Whether a unit begins a token. */
  private readonly first = new Uint8Array(65_536);
  /** From node × 65,536 + unit to the next node; node 0 is the root. */
  private readonly edges = new Map<number, number>();
  /** Which pairs of units are adjacent within a token. */
  private readonly within = new Crossings();
  /** What each unit is the first or the last of: bits of EDGE. */
  private readonly atEdge = new Uint8Array(65_536);
  private readonly lstrip: boolean;
  private readonly rstrip: boolean;
  /** Units in the longest token. */
  readonly longest: number;
  /** The token that ends at each node. */
  private readonly ends: (AddedToken | undefined)[] = [undefined];
  readonly tokens: readonly AddedToken[];

  /** @param normalized [65536] normal form of each unit, applied to the text and to the tokens' contents */
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
      // As in Python, the first of two that are equal after normalizing wins.
      this.ends[node] ??= token;
    }
  }

  /** Splits text[from..to) into stretches. */
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
      // A match is consumed even if it is then rejected.
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

  /** Whether splitting at text[at] leaves the matches on both sides unchanged, whatever surrounds it. */
  mayCut(text: string, at: number): boolean {
    if (this.tokens.length === 0) return true;
    return !this.within.has(this.unit(text, at - 1), this.unit(text, at)) && this.needsNothingAcross(text, at);
  }

  /** The same, if no token is known to span the position. */
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
