import { Generator, Purpose } from '../random/generator.js';
import type { Batch, Batches, Order, Target } from './activation-source.js';
import { type Manifest, rowBytes } from './manifest.js';
import { newBatch, POOL_ROWS, Pool, poolRowsWithin, type RowShape } from './pool.js';
import { buffersOf, type Examples } from './rows.js';
import type { ShardSizes } from './shard-list.js';
import type { Store, StoreManifest } from './store.js';

/** What ActivationBatches deals: rows by shard, on disk or in memory. */
export interface Shards extends Pick<Store, 'readShard'> {
  readonly manifest: Pick<Manifest, 'rows' | 'd_in' | 'dtype'>;
  readonly shards: ShardSizes;
  readonly target?: Store['target'];
}

/** Hook, width and mean norm of the store that holds the targets. */
export const targetOfStore = ({ hook, d_in: dOut, mean_norm: meanNorm }: StoreManifest): Target => ({
  hook,
  dOut,
  meanNorm,
});

/** Bytes in memory of a row and its target. */
export function bytesPerRow({ manifest, target }: Pick<Shards, 'manifest' | 'target'>): number {
  return rowBytes(manifest) + (target ? rowBytes(target.manifest) : 0);
}

/** Position of a pool in the order of all pools. */
interface Place {
  readonly epoch: number;
  /** Index into the epoch's order of shards of the first shard. */
  readonly start: number;
}

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
 * manifest. Either way the order is a function of (seed, rows dealt so far) alone: `seek` continues where a run
 * stopped.
 */
export class ActivationBatches implements Batches {
  private readonly poolShards: number;
  private readonly shape: RowShape;
  private place: Place = { epoch: 0, start: 0 };
  private loaded: Loaded | undefined;
  /** The shards of the next pool, being read. */
  private coming: { readonly shards: readonly number[]; readonly pieces: Promise<readonly Examples[]> } | undefined;
  /** Memory of shards that are no longer needed. */
  private readonly spare: ArrayBuffer[] = [];
  /** Next row of the pool. */
  private cursor = 0;

  /** @param ahead whether a pool is read while the previous one is dealt */
  constructor(
    private readonly store: Shards,
    private readonly order: Order,
    private readonly seed: number,
    poolRows = POOL_ROWS,
    private readonly ahead = false,
  ) {
    const { d_in: dIn, dtype } = store.manifest;
    this.shape = { dIn, dtype, ...(store.target && { target: targetOfStore(store.target.manifest) }) };
    let largest = 1;
    for (let i = 0; i < store.shards.length; i++) largest = Math.max(largest, store.shards.rowsOf(i));
    this.poolShards = Math.max(1, Math.floor(poolRowsWithin(poolRows, bytesPerRow(store)) / largest));
  }

  /** Goes to the state after `rows` rows were dealt. */
  async seek(rows: number): Promise<void> {
    const total = this.store.manifest.rows;
    this.place = { epoch: Math.floor(rows / total), start: 0 };
    let left = rows % total;
    for (;;) {
      const size = this.rowsOf(this.shardsAt(this.place));
      if (left < size) break;
      left -= size;
      this.place = this.after(this.place);
    }
    this.loaded = await this.load();
    this.cursor = left;
  }

  async next(size: number, into?: Batch): Promise<Batch> {
    const batch = newBatch(size, this.shape, into);
    for (let filled = 0; filled < size; ) {
      this.loaded ??= await this.load();
      if (this.cursor === this.loaded.pool.size) await this.nextPool();
      filled += this.deal(batch, filled, size - filled);
    }
    return batch;
  }

  async *inputs(occasion: number): AsyncIterable<Examples> {
    const order = new Generator(this.seed, Purpose.inputs, occasion).permutation(this.store.shards.length);
    for (const shard of order) yield await this.store.readShard(shard);
  }

  /** Deals the rows left in the pool, at most `most`; returns their number. No suspended call keeps a pool alive. */
  private deal(batch: Batch, at: number, most: number): number {
    const { pool } = this.loaded!;
    const count = Math.min(most, pool.size - this.cursor);
    pool.deal(this.cursor, count, batch, at, this.shape);
    this.cursor += count;
    return count;
  }

  private async nextPool(): Promise<void> {
    this.place = this.after(this.place);
    this.loaded = await this.load();
    this.cursor = 0;
  }

  private after({ epoch, start }: Place): Place {
    const next = start + this.poolShards;
    return next < this.store.shards.length ? { epoch, start: next } : { epoch: epoch + 1, start: 0 };
  }

  private orderOfShards(epoch: number): Uint32Array {
    const count = this.store.shards.length;
    if (this.order === 'stored') return Uint32Array.from({ length: count }, (_, i) => i);
    return new Generator(this.seed, Purpose.shardOrder, epoch).permutation(count);
  }

  private shardsAt({ epoch, start }: Place): number[] {
    // Ascending, so that a pool that holds the whole store is the same pool in every epoch and is loaded once.
    return [...this.orderOfShards(epoch).subarray(start, start + this.poolShards)].sort((a, b) => a - b);
  }

  private rowsOf(shards: readonly number[]): number {
    return shards.reduce((sum, shard) => sum + this.store.shards.rowsOf(shard), 0);
  }

  private async load(): Promise<Loaded> {
    const { epoch, start } = this.place;
    const shards = this.shardsAt(this.place);
    const before = this.loaded;
    this.loaded = undefined;
    const pieces = same(before?.shards, shards) ? before!.pool.pieces : await this.piecesOf(shards, before);
    const order =
      this.order === 'stored'
        ? undefined
        : new Generator(this.seed, Purpose.rowOrder, epoch, start).permutation(this.rowsOf(shards));
    return { shards, pool: new Pool(pieces, order) };
  }

  /**
   * The shards of a pool, in the memory of the one before; where pools are read ahead, that memory is the next one's.
   */
  private piecesOf(shards: readonly number[], before: Loaded | undefined): Promise<readonly Examples[]> {
    const next = this.shardsAt(this.after(this.place));
    const coming = same(this.coming?.shards, shards) ? this.coming?.pieces : undefined;
    this.coming = undefined;
    if (before) this.reuse(before.pool);
    const pieces = coming ?? this.read(shards);
    if (!this.ahead || same(next, shards)) return pieces;
    // After the shards that are needed first. A failure is reported when the pool is requested.
    const ahead = pieces.then(() => this.read(next));
    ahead.catch(() => {});
    this.coming = { shards: next, pieces: ahead };
    return pieces;
  }

  private reuse({ pieces }: Pool): void {
    this.spare.push(...pieces.flatMap(buffersOf));
    // At most two pools are in use at a time, so more memory than theirs is never needed again.
    const most = 2 * this.poolShards * (this.store.target ? 2 : 1);
    this.spare.splice(0, this.spare.length - most);
  }

  private read(shards: readonly number[]): Promise<readonly Examples[]> {
    return Promise.all(shards.map((shard) => this.store.readShard(shard, this.spare)));
  }
}

function same(a: readonly number[] | undefined, b: readonly number[]): boolean {
  return a !== undefined && a.length === b.length && a.every((shard, k) => shard === b[k]);
}
