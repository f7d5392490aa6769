import { Refusal } from '../config/refusal.js';
import type { StopRequest } from '../progress/progress.js';
import { unlessStopped } from '../progress/unless-stopped.js';
import type { ActivationArray, Rows } from './arrow-files.js';
import { forTraining, newBatch, type Pool } from './pool.js';
import type { Batches, SourceDescription } from './source.js';

/** Pools of a source that passes once, one after another. */
export interface PoolSupply {
  /** Before the first pool: goes past whole pools that hold no row after the first `rows`. Their rows. */
  skip(rows: number): Promise<number>;
  /** The next pool; null after the last. */
  next(): Promise<Pool | null>;
}

/** Deals pools one after another, each to its end before the next; forward only. */
export class PoolBatches implements Batches {
  private pool: Pool | undefined;
  /** Rows before the current pool. */
  private before = 0;
  /** Next row of the pool. */
  private cursor = 0;
  private begun = false;
  /** Rows of the last batch asked for. */
  private size = 0;

  constructor(
    private readonly about: SourceDescription,
    private readonly supply: PoolSupply,
    private readonly stop: StopRequest,
  ) {}

  /** Rows dealt so far. */
  get dealt(): number {
    return this.before + this.cursor;
  }

  /** Are fewer rows left than a batch takes? */
  get exhausted(): boolean {
    return this.begun && this.about.rows - this.dealt < Math.max(1, this.size);
  }

  /** Waits for the pool that holds the next row, so that what is wrong with the source is told here if it can be. */
  async seek(rows: number): Promise<void> {
    if (rows < this.dealt) throw new Error(`${this.about.place} goes forward only`);
    if (!this.begun) {
      this.begun = true;
      this.before = await this.wait(this.supply.skip(rows));
    }
    for (;;) {
      if (!this.holds() && this.dealt < Math.max(rows, this.about.rows)) await this.advance();
      if (this.dealt >= rows) return;
      this.cursor = Math.min(rows - this.before, this.pool!.size);
    }
  }

  async next(size: number, into?: ActivationArray): Promise<ActivationArray> {
    await this.begin();
    this.size = size;
    const { dIn, dtype } = this.about;
    const batch = newBatch(size, dIn, dtype, into);
    for (let filled = 0; filled < size; ) {
      if (!this.holds()) await this.advance();
      filled += this.deal(batch, filled, size - filled);
    }
    return forTraining(batch, dtype);
  }

  /** The pool from which the next row is dealt, in the order in which its rows came. */
  async *inputs(): AsyncIterable<Rows> {
    await this.begin();
    if (!this.holds()) await this.advance();
    yield* this.pool!.pieces;
  }

  private begin(): Promise<void> {
    return this.begun ? Promise.resolve() : this.seek(0);
  }

  private holds(): boolean {
    return this.pool !== undefined && this.cursor < this.pool.size;
  }

  /** Rows dealt: as many as the pool still has, `most` at most. No pool outlives this in a suspended call. */
  private deal(batch: ActivationArray, at: number, most: number): number {
    const pool = this.pool!;
    const count = Math.min(most, pool.size - this.cursor);
    pool.deal(this.cursor, count, batch, at, this.about.dIn);
    this.cursor += count;
    return count;
  }

  private async advance(): Promise<void> {
    this.before += this.cursor;
    this.cursor = 0;
    // Let go of before the next is there, or there would be one more in memory.
    this.pool = undefined;
    const next = await this.wait(this.supply.next());
    if (next === null) {
      throw new Refusal(
        `${this.about.place} has ${this.about.rows} rows, and training asks for more.`,
        'Ask for fewer --tokens or --steps, or let it have more rows.',
      );
    }
    this.pool = next;
  }

  private wait<T>(work: Promise<T>): Promise<T> {
    return unlessStopped(
      work,
      this.stop,
      () => `waiting for rows of ${this.about.place}, of which ${this.dealt} were trained on.`,
    );
  }
}
