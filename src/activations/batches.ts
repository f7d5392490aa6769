import { Generator, Purpose } from '../random/generator.js';
import { type ActivationArray, allocateRows, type Rows } from './arrow-files.js';
import { fromBfloat16 } from './bfloat16.js';
import { ACTIVATION_BYTES } from './manifest.js';
import type { Batches, Order } from './source.js';
import type { Store } from './store.js';

/** Rows held in memory at once, at most, for mixing. */
const POOL_ROWS = 2 ** 20;
const POOL_BYTES = 2 * 2 ** 30;

/** A pass over part of a store: which shards are in memory, and the order of their rows. */
interface Pool {
  readonly shards: readonly number[];
  readonly rows: readonly Rows[];
  /** [rows of the pool] */
  readonly order: Uint32Array;
  readonly shardOf: Uint32Array;
  readonly firstOf: readonly number[];
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
  private pool: Pool | undefined;
  /** Next row of the pool. */
  private cursor = 0;

  constructor(
    private readonly store: Store,
    private readonly order: Order,
    private readonly seed: number,
    poolRows = POOL_ROWS,
  ) {
    const { shards, d_in, dtype } = store.manifest;
    const largest = Math.max(...shards.map((shard) => shard.rows));
    const rows = Math.min(poolRows, Math.floor(POOL_BYTES / (d_in * ACTIVATION_BYTES[dtype])));
    this.poolShards = Math.max(1, Math.floor(rows / largest));
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
    this.pool = await this.loadPool();
    this.cursor = left;
  }

  /**
   * The next `size` rows, [size × d_in]: float16 bits for a float16 store, float32 otherwise. The array is new.
   */
  async next(size: number): Promise<ActivationArray> {
    const { d_in: d, dtype } = this.store.manifest;
    const batch = allocateRows(size, d, dtype).activation;
    for (let filled = 0; filled < size; filled++) {
      this.pool ??= await this.loadPool();
      if (this.cursor === this.pool.order.length) await this.nextPool();
      const row = this.pool.order[this.cursor++]!;
      const shard = this.pool.shardOf[row]!;
      const from = (row - this.pool.firstOf[shard]!) * d;
      batch.set(this.pool.rows[shard]!.activation.subarray(from, from + d), filled * d);
    }
    if (dtype !== 'bfloat16') return batch;
    const wide = new Float32Array(batch.length);
    fromBfloat16(batch as Uint16Array, wide);
    return wide;
  }

  async *inputs(occasion: number): AsyncIterable<Rows> {
    const order = new Generator(this.seed, Purpose.inputs, occasion).permutation(this.store.manifest.shards.length);
    for (const shard of order) yield await this.store.readShard(shard);
  }

  private async nextPool(): Promise<void> {
    this.poolStart += this.poolShards;
    if (this.poolStart >= this.shardOrder.length) {
      this.epoch++;
      this.poolStart = 0;
      this.shardOrder = this.orderOfShards();
    }
    this.pool = await this.loadPool();
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

  private async loadPool(): Promise<Pool> {
    const shards = this.shardsOfPool();
    let rows = this.pool?.shards.join() === shards.join() ? this.pool.rows : undefined;
    // Let go of the old pool before loading, or two would be in memory.
    this.pool = undefined;
    if (!rows) {
      const loaded: Rows[] = [];
      for (const shard of shards) loaded.push(await this.store.readShard(shard));
      rows = loaded;
    }
    const total = this.rowsOfPool();
    const shardOf = new Uint32Array(total);
    const firstOf: number[] = [];
    let first = 0;
    for (const [i, { token }] of rows.entries()) {
      firstOf.push(first);
      shardOf.fill(i, first, first + token.length);
      first += token.length;
    }
    const order =
      this.order === 'stored'
        ? Uint32Array.from({ length: total }, (_, i) => i)
        : new Generator(this.seed, Purpose.rowOrder, this.epoch, this.poolStart).permutation(total);
    return { shards, rows, order, shardOf, firstOf };
  }
}
