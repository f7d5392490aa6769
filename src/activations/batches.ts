import { Generator, Purpose } from '../random/generator.js';
import type { ActivationArray, Rows } from './arrow-files.js';
import { forTraining, newBatch, POOL_ROWS, Pool, poolRowsWithin } from './pool.js';
import type { Batches, Order } from './source.js';
import type { Store } from './store.js';

/** What is in memory of a store. */
interface Loaded {
  readonly shards: readonly number[];
  readonly pool: Pool;
}

/**
 * Batches of activations for training, epoch after epoch.
 *
 * Shuffled: each epoch takes the shards in a new random order, loads as many as fit the pool, and deals the pool's rows
 * in random order; shards hold permuted windows, so a batch mixes the whole corpus. Stored: rows in the order of the
 * manifest. Either way the order is a function of (seed, rows dealt so far) alone: `seek` goes on where a run stopped.
 */
export class ActivationBatches implements Batches {
  private readonly poolShards: number;
  private epoch = 0;
  private shardOrder: Uint32Array;
  /** Index into shardOrder of the first shard of the current pool. */
  private poolStart = 0;
  private loaded: Loaded | undefined;
  /** Next row of the pool. */
  private cursor = 0;

  constructor(
    private readonly store: Store,
    private readonly order: Order,
    private readonly seed: number,
    poolRows = POOL_ROWS,
  ) {
    const { shards } = store.manifest;
    const largest = shards.reduce((most, { rows }) => Math.max(most, rows), 1);
    this.poolShards = Math.max(1, Math.floor(poolRowsWithin(poolRows, store.manifest) / largest));
    this.shardOrder = this.orderOfShards();
  }

  /** Goes to the state after `rows` rows were dealt. */
  async seek(rows: number): Promise<void> {
    const total = this.store.manifest.rows;
    this.epoch = Math.floor(rows / total);
    this.shardOrder = this.orderOfShards();
    this.poolStart = 0;
    let left = rows % total;
    for (;;) {
      const size = this.rowsOfPool();
      if (left < size) break;
      left -= size;
      this.poolStart += this.poolShards;
    }
    this.loaded = await this.load();
    this.cursor = left;
  }

  /**
   * The next `size` rows, [size × d_in]: float16 bits for a float16 store, float32 otherwise: in `into` where
   * that fits, else in a new array.
   */
  async next(size: number, into?: ActivationArray): Promise<ActivationArray> {
    const { d_in: d, dtype } = this.store.manifest;
    const batch = newBatch(size, d, dtype, into);
    for (let filled = 0; filled < size; ) {
      this.loaded ??= await this.load();
      if (this.cursor === this.loaded.pool.size) await this.nextPool();
      filled += this.deal(batch, filled, size - filled);
    }
    return forTraining(batch, dtype);
  }

  async *inputs(occasion: number): AsyncIterable<Rows> {
    const order = new Generator(this.seed, Purpose.inputs, occasion).permutation(this.store.manifest.shards.length);
    for (const shard of order) yield await this.store.readShard(shard);
  }

  /** Rows dealt: as many as the pool still has, `most` at most. No pool outlives this in a suspended call. */
  private deal(batch: ActivationArray, at: number, most: number): number {
    const { pool } = this.loaded!;
    const count = Math.min(most, pool.size - this.cursor);
    pool.deal(this.cursor, count, batch, at, this.store.manifest.d_in);
    this.cursor += count;
    return count;
  }

  private async nextPool(): Promise<void> {
    this.poolStart += this.poolShards;
    if (this.poolStart >= this.shardOrder.length) {
      this.epoch++;
      this.poolStart = 0;
      this.shardOrder = this.orderOfShards();
    }
    this.loaded = await this.load();
    this.cursor = 0;
  }

  private orderOfShards(): Uint32Array {
    const count = this.store.manifest.shards.length;
    if (this.order === 'stored') return Uint32Array.from({ length: count }, (_, i) => i);
    return new Generator(this.seed, Purpose.shardOrder, this.epoch).permutation(count);
  }

  private shardsOfPool(): number[] {
    // Ascending, so that a pool that holds the whole store is the same pool in every epoch and is loaded once.
    return [...this.shardOrder.subarray(this.poolStart, this.poolStart + this.poolShards)].sort((a, b) => a - b);
  }

  private rowsOfPool(): number {
    return this.shardsOfPool().reduce((sum, shard) => sum + this.store.manifest.shards[shard]!.rows, 0);
  }

  private async load(): Promise<Loaded> {
    const shards = this.shardsOfPool();
    let pieces = this.loaded?.shards.join() === shards.join() ? this.loaded.pool.pieces : undefined;
    // Let go of the old pool before loading, or two would be in memory.
    this.loaded = undefined;
    if (!pieces) {
      const read: Rows[] = [];
      for (const shard of shards) read.push(await this.store.readShard(shard));
      pieces = read;
    }
    const order =
      this.order === 'stored'
        ? undefined
        : new Generator(this.seed, Purpose.rowOrder, this.epoch, this.poolStart).permutation(this.rowsOfPool());
    return { shards, pool: new Pool(pieces, order) };
  }
}
