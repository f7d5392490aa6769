import { Refusal } from '../../errors/refusal.js';
import { TokenList } from './token-list.js';

/** A place at which a text may be cut. */
export interface Seam {
  readonly at: number;
  /** The characters of the token before it, where what follows must join them; null where nothing can go wrong. */
  readonly last: string | null;
}

/** Text to tokens, a part of it at a time. */
export interface TextEncoder {
  /** Characters (UTF-16 units) without a place to cut, at most. */
  readonly longest: number;
  /** Whether text[..at) and text[at..) have the tokens of the whole, whatever stands before and after. */
  mayCut(text: string, at: number): boolean;
  /** Where a text can be cut in which no place is safe; null where there is none. */
  findSeam(text: string): Seam | null;
  /** Whether a token, of the characters `last`, is followed by the tokens of `text` where their characters are. */
  joins(last: string, text: string): boolean;
  /** Adds the tokens of a text to `into`. */
  encode(text: string, into: TokenList): void;
  /** The text as the characters that tokens have in the vocabulary. */
  spell(text: string): string;
  /** The byte that a token of the vocabulary stands for, where no token has the characters; undefined for others. */
  byteOf(token: string): number | undefined;
}

/** Whether text[at] is the second half of a character. */
export const isPair = (text: string, at: number) =>
  (text.charCodeAt(at) & 0xfc00) === 0xdc00 && (text.charCodeAt(at - 1) & 0xfc00) === 0xd800;

/** Characters (UTF-16 units) that are encoded at a time. */
export const WINDOW = 2 ** 16;

/** The tokens of one document, whose text comes in pieces; of text, it holds a window and the piece. */
export class DocumentEncoder {
  private readonly list = new TokenList();
  private pending = '';
  /** The characters of the token before `pending`, where its tokens must join them. */
  private last: string | null = null;

  /** @param source the document, for messages */
  constructor(
    private readonly encoder: TextEncoder,
    private readonly source: string,
    private window = WINDOW,
  ) {}

  /** The tokens that are known by now; `piece` is text in any amount. */
  *push(piece: string): Generator<Int32Array> {
    for (let at = 0; at < piece.length; ) {
      const more = Math.min(piece.length - at, this.window - this.pending.length);
      this.pending += piece.slice(at, at + more);
      at += more;
      if (this.pending.length < this.window) continue;
      const tokens = this.shorten();
      if (tokens) yield tokens;
    }
  }

  /** The tokens of what is left. */
  *end(): Generator<Int32Array> {
    if (this.pending !== '') yield this.encode(this.pending.length);
  }

  /** Encodes the window up to the last place at which no token can go on; null where it has to grow. */
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
      `${this.source}: the text from ${begin} on, ${this.window} characters, has no place where its tokens can be told apart.`,
      'Break it by a space or a line, or leave it out.',
      'corpus/no-cut',
    );
  }
}
