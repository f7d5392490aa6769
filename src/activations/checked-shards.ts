import { takeFitting } from '../disk/stamped-file.js';
import { type RefusedReply, refusalFrom } from '../errors/refusal.js';
import { cores } from '../machine/cores.js';
import { Thread } from '../progress/thread.js';
import type { Rows } from './rows.js';
import { type ReadShard, readShard, type ShardsOf } from './shard-file.js';
import type { ListedShard, ShardList } from './shard-list.js';
import type { Store } from './store.js';

/** Request to a thread: read a shard, like readShard. */
export interface ShardRequest {
  readonly shard: ListedShard;
  readonly checked: string | undefined;
  /** Shared memory to read into. */
  readonly into: SharedArrayBuffer | undefined;
}

/** Its memory is transferred, unless it was given. */
export type ShardReply = ({ readonly kind: 'shard' } & ReadShard) | RefusedReply;

/** Max threads of a store: two keep up with a disk, and the first pass, which hashes, may take more. */
const MOST_THREADS = 4;
/** Reading this many bytes of shards takes less time than starting a thread. */
const SMALL = 2 ** 26;

/** Number of threads for reading this many bytes of shards: none if there are few. */
export function readingThreads(bytes: number, shards: number, available = cores()): number {
  return bytes < SMALL ? 0 : Math.min(MOST_THREADS, shards, available);
}

/**
 * The shards of a store, which are read repeatedly: in threads alongside the caller or, without threads, one at a time.
 * The contents of each are checked when it is first read, and again if its file was touched since.
 */
export class CheckedShards {
  /** For each shard found intact, the stamp of its file at that time. */
  private readonly stamps: ShardStamps;
  private readonly of: ShardsOf;
  private readonly threads: Thread<ShardRequest, ShardReply>[];
  private readonly idle: Thread<ShardRequest, ShardReply>[];
  private readonly waiting: (() => void)[] = [];
  /** Without threads: the current read. */
  private last: Promise<unknown> = Promise.resolve();

  constructor(
    private readonly store: Pick<Store, 'directory' | 'manifest' | 'shards'>,
    threads: number,
  ) {
    const { d_in, dtype } = store.manifest;
    this.of = { directory: store.directory, d_in, dtype };
    this.stamps = new ShardStamps(store.shards.length);
    // A thread gets one shard at a time: the complete list would be in its memory once more.
    const data = this.of;
    this.threads = Array.from({ length: threads }, () => {
      const options = { name: "the shards' thread", data, idle: true };
      return new Thread(new URL('shard-worker.js', import.meta.url), options);
    });
    this.idle = [...this.threads];
  }

  /**
   * Loads shard i.
   *
   * @param spare memory to reuse: what fits is taken from the list. Whoever gives a list reuses all memory, so threads
   *   read into memory that they share
   * @throws Refusal if it is not what was written, or an activation is not finite
   */
  async read(i: number, spare?: ArrayBufferLike[]): Promise<Rows> {
    const { rows, stamp } = this.threads.length > 0 ? await this.ask(i, spare) : await this.readHere(i, spare);
    this.stamps.set(i, stamp);
    return rows;
  }

  /** Ends the threads, whatever they are reading. */
  async close(): Promise<void> {
    await Promise.all(this.threads.map((thread) => thread.terminate()));
  }

  private readHere(i: number, spare?: ArrayBufferLike[]): Promise<ReadShard> {
    const { store, of, stamps } = this;
    const shard = this.last.then(() => readShard(of, store.shards.at(i), { checked: stamps.get(i), spare }));
    this.last = shard.catch(() => {});
    return shard;
  }

  private async ask(i: number, spare?: ArrayBufferLike[]): Promise<ReadShard> {
    while (this.idle.length === 0) await new Promise<void>((resolve) => this.waiting.push(resolve));
    const thread = this.idle.pop()!;
    try {
      const { shards } = this.store;
      thread.ask({
        shard: shards.at(i),
        checked: this.stamps.get(i),
        into: spare && sharedMemoryFor(shards, i, spare),
      });
      const reply = await thread.reply();
      if (reply.kind === 'refused') throw refusalFrom(reply);
      return reply;
    } finally {
      this.idle.push(thread);
      this.waiting.shift()?.();
    }
  }
}

/**
 * Memory that threads share, for shard i: taken from `spare` if it fits; otherwise new, and large enough for any shard of
 * the store. The garbage collector neither counts it nor hurries to collect it, so all of it must be reused.
 *
 * @returns undefined if the shard's size is not known
 */
export function sharedMemoryFor(shards: ShardList, i: number, spare: ArrayBufferLike[]): SharedArrayBuffer | undefined {
  const bytes = shards.bytesOf(i);
  if (bytes === undefined) return undefined;
  const shared = spare.filter((buffer) => buffer instanceof SharedArrayBuffer);
  const reused = takeFitting(shared, bytes);
  if (!reused) return new SharedArrayBuffer(shards.largestBytes);
  spare.splice(spare.indexOf(reused), 1);
  return reused as SharedArrayBuffer;
}

/** Bytes per stamp, enough to distinguish them. */
const STAMP = 16;

/** Stamps of shards, STAMP bytes each. */
class ShardStamps {
  private readonly bytes: Buffer;
  private readonly known: Uint8Array;

  constructor(shards: number) {
    this.bytes = Buffer.alloc(STAMP * shards);
    this.known = new Uint8Array(shards);
  }

  get(i: number): string | undefined {
    return this.known[i] === 1 ? this.bytes.toString('hex', STAMP * i, STAMP * (i + 1)) : undefined;
  }

  set(i: number, stamp: string | undefined): void {
    this.known[i] = Number(stamp !== undefined);
    if (stamp !== undefined) this.bytes.write(stamp, STAMP * i, 'hex');
  }
}
