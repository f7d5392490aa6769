import { Refusal } from '../../errors/refusal.js';
import { TokenList } from './token-list.js';

/** A position at which a text may be split. */
export interface Seam {
  readonly at: number;
  /**
   * The characters of the preceding token, which must be checked to join with what follows; null if any split is right.
   */
  readonly last: string | null;
}

/** Tokenizes text, a part at a time. */
export interface TextEncoder {
  /** Max characters (UTF-16 units) without a place to split. */
  readonly longest: number;
  /** Whether text[..at) and text[at..) together have the tokens of the whole, whatever precedes and follows. */
  mayCut(text: string, at: number): boolean;
  /** A place to split a text that has no safe place; null if there is none. */
  findSeam(text: string): Seam | null;
  /** Whether a token with the characters `last`, followed by `text`, stays separate from it. */
  joins(last: string, text: string): boolean;
  /** Appends the tokens of a text to `into`. */
  encode(text: string, into: TokenList): void;
  /** The text in the characters that tokens have in the vocabulary. */
  spell(text: string): string;
  /** The byte that a byte-fallback token of the vocabulary stands for; undefined for other tokens. */
  byteOf(token: string): number | undefined;
}

/** Whether text[at] is the second half of a surrogate pair. */
export const isPair = (text: string, at: number) =>
  (text.charCodeAt(at) & 0xfc00) === 0xdc00 && (text.charCodeAt(at - 1) & 0xfc00) === 0xd800;

/** Characters (UTF-16 units) encoded at a time in a long document. */
export const WINDOW = 2 ** 16;
/** The first window of a document, whose rest may not be needed; each window is twice the previous one, up to WINDOW. */
const FIRST_WINDOW = 2 ** 13;

/** Tokenizes one document that arrives in pieces; holds only a window of text and the current piece. */
export class DocumentEncoder {
  private readonly list = new TokenList();
  private pending = '';
  /** The characters of the token before `pending`, if its tokens must be checked to join. */
  private last: string | null = null;
  private window: number;

  /**
   * @param source the document, for messages
   * @param usual characters per window, once it has grown to that
   */
  constructor(
    private readonly encoder: TextEncoder,
    private readonly source: string,
    private readonly usual = WINDOW,
  ) {
    this.window = Math.min(FIRST_WINDOW, usual);
  }

  /** The tokens known so far; `piece` may be of any length. */
  *push(piece: string): Generator<Int32Array> {
    for (let at = 0; at < piece.length; ) {
      const more = Math.min(piece.length - at, this.window - this.pending.length);
      this.pending += piece.slice(at, at + more);
      at += more;
      if (this.pending.length < this.window) continue;
      const tokens = this.shorten();
      if (!tokens) continue;
      this.window = Math.max(this.window, Math.min(2 * this.window, this.usual));
      yield tokens;
    }
  }

  /** The tokens of the remaining text. */
  *end(): Generator<Int32Array> {
    if (this.pending !== '') yield this.encode(this.pending.length);
  }

  /** Encodes the window up to the last position that no token can span; null if it has to grow. */
  private shorten(): Int32Array | null {
    for (let at = this.window - 1; at > 0; at--) if (this.encoder.mayCut(this.pending, at)) return this.encode(at);
    const seam = this.encoder.findSeam(this.pending);
    if (!seam) {
      if (this.window >= this.encoder.longest) throw this.cannotBeCut();
      this.window *= 2;
      return null;
    }
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
      `${this.source}: the text from ${begin} on, ${this.window} characters, has no place where it can be split without changing its tokens.`,
      'Insert a space or a line break, or remove it.',
      'corpus/no-cut',
    );
  }
}
