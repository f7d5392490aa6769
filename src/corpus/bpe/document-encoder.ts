import { Refusal } from '../../config/refusal.js';
import type { Encoder } from './encoder.js';
import { TokenList } from './token-list.js';

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
    private readonly encoder: Encoder,
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
    );
  }
}
