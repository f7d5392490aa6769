import { Interrupted, Refusal } from '../errors/refusal.js';
import type { StopRequest } from '../progress/progress.js';
import { throwIfStopped, unlessStopped } from '../progress/stop.js';
import type { Batch, Batches, SourceDescription, Target, TextRead } from './activation-source.js';
import type { ActivationArray, Examples } from './rows.js';

/** Max rows held in memory for mixing. */
export const POOL_ROWS = 2 ** 20;
export const POOL_BYTES = 2 * 2 ** 30;

/** Bytes of a row's position in a pool: its piece, and its place in the order. */
export const ORDER_BYTES = 8;

/** Rows of `bytes` bytes that a pool may hold: as many as requested that fit POOL_BYTES, at least one. */
export function poolRowsWithin(asked: number, bytes: number): number {
  return Math.max(1, Math.min(asked, Math.floor(POOL_BYTES / bytes)));
}

/** Rows in memory, in pieces as they arrived, and the order in which they are dealt. */
export class Pool {
  readonly size: number;
  /** [size] piece of each row. */
  private readonly pieceOf: Uint32Array;
  private readonly firstOf: number[] = [];

  /** @param order [size] rows counted through all pieces; in stored order if not given */
  constructor(
    readonly pieces: readonly Examples[],
    private readonly order?: Uint32Array,
  ) {
    this.size = pieces.reduce((sum, { token }) => sum + token.length, 0);
    this.pieceOf = new Uint32Array(this.size);
    let first = 0;
    for (const [i, { token }] of pieces.entries()) {
      this.firstOf.push(first);
      this.pieceOf.fill(i, first, first + token.length);
      first += token.length;
    }
  }

  /** Copies rows `from` … `from + count` − 1 of the order into `batch`, from its row `at` on. */
  deal(from: number, count: number, { x, y }: Batch, at: number, { dIn, target }: RowShape): void {
    for (let i = 0; i < count; i++) {
      const row = this.order ? this.order[from + i]! : from + i;
      const piece = this.pieceOf[row]!;
      const rows = this.pieces[piece]!;
      const place = row - this.firstOf[piece]!;
      x.set(rows.activation.subarray(place * dIn, (place + 1) * dIn), (at + i) * dIn);
      if (target) y!.set(rows.target!.subarray(place * target.dOut, (place + 1) * target.dOut), (at + i) * target.dOut);
    }
  }
}

/** Widths and element type of the rows of a source. */
export interface RowShape extends Pick<SourceDescription, 'dIn' | 'dtype'> {
  readonly target?: Pick<Target, 'dOut'>;
}

/** Memory for a batch of `size` rows of a source: that of `into` if it fits. */
export function newBatch(size: number, { dIn, dtype, target }: RowShape, into?: Batch): Batch {
  const memory = (d: number, used?: ActivationArray) => {
    if (used?.length === size * d && used instanceof Float32Array === (dtype === 'float32')) return used;
    return dtype === 'float32' ? new Float32Array(size * d) : new Uint16Array(size * d);
  };
  return { x: memory(dIn, into?.x), ...(target && { y: memory(target.dOut, into?.y) }) };
}

/** Consecutive pools of a source that can be read only once. */
export interface PoolSupply {
  /** Before the first pool: skips whole pools within the first `rows` rows, and returns the text of their rows. */
  skip(rows: number): Promise<TextRead>;
  /** The next pool; null after the last. */
  next(): Promise<Filled | null>;
}

export interface Filled {
  readonly pool: Pool;
  /** The text from the source's beginning to the pool's end. */
  readonly text: Omit<TextRead, 'rows'>;
}

/** Number of pool ends whose text is kept: a checkpoint needs that of its row, soon after it was dealt. */
const REMEMBERED = 4096;

/** Deals consecutive pools, each to its end before the next; forward only. */
export class PoolBatches implements Batches {
  private pool: Pool | undefined;
  /** Rows before the current pool. */
  private before = 0;
  /** Next row of the pool. */
  private cursor = 0;
  private begun = false;
  /** The text up to the ends of pools, in order. */
  private readonly read: TextRead[] = [];
  private expected: TextRead | undefined;

  constructor(
    private readonly about: SourceDescription,
    private readonly supply: PoolSupply,
    private readonly stop: StopRequest,
  ) {}

  /** Rows dealt so far. */
  get dealt(): number {
    return this.before + this.cursor;
  }

  /** Waits for the pool with the next row, so that problems of the source are reported here if possible. */
  async seek(rows: number): Promise<void> {
    if (rows < this.dealt) throw new Error(`${this.about.place} goes forward only`);
    if (!this.begun) {
      this.begun = true;
      const skipped = await this.wait(this.supply.skip(rows));
      this.before = skipped.rows;
      this.noteText(skipped);
    }
    for (;;) {
      if (!this.holds() && this.dealt < Math.max(rows, this.about.rows)) await this.advance();
      if (this.dealt >= rows) return;
      this.cursor = Math.min(rows - this.before, this.pool!.size);
    }
  }

  async next(size: number, into?: Batch): Promise<Batch> {
    await this.begin();
    const batch = newBatch(size, this.about, into);
    for (let filled = 0; filled < size; ) {
      if (!this.holds()) await this.advance();
      filled += this.deal(batch, filled, size - filled);
    }
    return batch;
  }

  /** The pool from which the next row is dealt, in the order in which its rows arrived. */
  async *inputs(): AsyncIterable<Examples> {
    await this.begin();
    if (!this.holds()) await this.advance();
    yield* this.pool!.pieces;
  }

  textRead(rows: number): TextRead | undefined {
    return this.read.find((text) => text.rows >= rows);
  }

  expectText(text: TextRead): void {
    this.expected = text;
  }

  /** Are there rows beyond those in memory? */
  get moreToCome(): boolean {
    return this.before + (this.pool?.size ?? 0) < this.about.rows;
  }

  /** Reads all remaining pools without dealing their rows, ignoring errors at their end. */
  async passOver(): Promise<void> {
    const message = () => `training is finished; the rest of ${this.about.place} was being read past.`;
    const next = () =>
      this.wait(this.supply.next(), message).catch((error) => {
        if (error instanceof Interrupted) throw error;
        return null;
      });
    await this.begin();
    // `wait` notices a stop only while it waits: rows that arrive quickly would hide one.
    while (this.put(await next())) throwIfStopped(this.stop, message());
  }

  private begin(): Promise<void> {
    return this.begun ? Promise.resolve() : this.seek(0);
  }

  private holds(): boolean {
    return this.pool !== undefined && this.cursor < this.pool.size;
  }

  /** Deals the rows left in the pool, at most `most`; returns their number. No suspended call keeps a pool alive. */
  private deal(batch: Batch, at: number, most: number): number {
    const pool = this.pool!;
    const count = Math.min(most, pool.size - this.cursor);
    pool.deal(this.cursor, count, batch, at, this.about);
    this.cursor += count;
    return count;
  }

  private async advance(): Promise<void> {
    this.drop();
    if (this.put(await this.wait(this.supply.next()))) return;
    throw new Refusal(
      `${this.about.place} has ${this.about.rows} rows, but training needs more.`,
      'Use fewer --tokens or --steps, or a source with more rows.',
      'activations/too-few-rows',
    );
  }

  /** Releases the pool before the next one arrives, so that one fewer is in memory. */
  private drop(): void {
    this.before += this.pool?.size ?? 0;
    this.cursor = 0;
    this.pool = undefined;
  }

  /** Replaces this pool with another; false if there is none. */
  private put(next: Filled | null): boolean {
    this.drop();
    if (next === null) return false;
    this.pool = next.pool;
    this.noteText({ rows: this.before + next.pool.size, ...next.text });
    return true;
  }

  private noteText(text: TextRead): void {
    this.read.push(text);
    if (this.read.length > REMEMBERED) this.read.shift();
    const { expected } = this;
    if (expected === undefined || text.rows < expected.rows) return;
    this.expected = undefined;
    if (text.rows === expected.rows && text.sha256 === expected.sha256) return;
    throw new Refusal(
      `${this.about.place} has a different text from the one that this run was trained on: it differs within the first ${expected.rows} rows.`,
      'Restore the text and the tokenizer, or train again into another --out or with --overwrite.',
      'activations/other-text',
    );
  }

  private wait<T>(work: Promise<T>, message = this.waiting): Promise<T> {
    return unlessStopped(work, this.stop, message);
  }

  private readonly waiting = () => `waiting for rows of ${this.about.place}, of which ${this.dealt} were trained on.`;
}
