import type { Manifest } from './manifest.js';

/** A shard as the manifest lists it. */
export type ListedShard = Manifest['shards'][number];

/** Size of a shard. */
export interface ShardSizes {
  readonly length: number;
  rowsOf(i: number): number;
  /** Undefined if no manifest gives it. */
  bytesOf(i: number): number | undefined;
}

/** Bytes of a SHA-256. */
const HASH = 32;

/**
 * The shards of a store in their order, as numbers and bytes in a few arrays: some 80 bytes per shard, where an object
 * with its texts takes several times as much. The reader of a store keeps it in memory throughout.
 */
export class ShardList implements ShardSizes, Iterable<ListedShard> {
  readonly length: number;
  /** Rows of the largest shard. */
  readonly largest: number;
  /** Bytes of the largest file whose size is known. */
  readonly largestBytes: number;
  /** Names one after another, and where each ends. */
  private readonly names: Buffer;
  private readonly ends: Uint32Array;
  private readonly rows: Float64Array;
  /** 0 if unknown. */
  private readonly bytes: Float64Array;
  private readonly windows: Float64Array;
  private readonly hashes: Buffer;

  constructor(shards: readonly ListedShard[]) {
    this.length = shards.length;
    this.rows = Float64Array.from(shards, ({ rows }) => rows);
    this.bytes = Float64Array.from(shards, ({ bytes }) => bytes ?? 0);
    this.windows = Float64Array.from(shards, ({ window }) => window);
    this.largest = this.rows.reduce((most, rows) => Math.max(most, rows), 0);
    this.largestBytes = this.bytes.reduce((most, bytes) => Math.max(most, bytes), 0);
    this.ends = new Uint32Array(this.length);
    this.hashes = Buffer.alloc(HASH * this.length);
    let end = 0;
    for (const [i, { file, sha256 }] of shards.entries()) {
      end += Buffer.byteLength(file);
      this.ends[i] = end;
      this.hashes.write(sha256, HASH * i, 'hex');
    }
    this.names = Buffer.alloc(end);
    for (const [i, { file }] of shards.entries()) this.names.write(file, this.ends[i - 1] ?? 0);
  }

  rowsOf(i: number): number {
    return this.rows[i]!;
  }

  bytesOf(i: number): number | undefined {
    return this.bytes[i] || undefined;
  }

  at(i: number): ListedShard {
    const bytes = this.bytesOf(i);
    return {
      file: this.names.toString('utf8', this.ends[i - 1] ?? 0, this.ends[i]),
      rows: this.rows[i]!,
      ...(bytes !== undefined && { bytes }),
      sha256: this.hashes.toString('hex', HASH * i, HASH * (i + 1)),
      window: this.windows[i]!,
    };
  }

  *[Symbol.iterator](): Generator<ListedShard> {
    for (let i = 0; i < this.length; i++) yield this.at(i);
  }
}
