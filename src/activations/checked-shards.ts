import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { cores } from '../machine/cores.js';
import { Thread } from '../progress/thread.js';
import type { ActivationDType } from './manifest.js';
import type { Rows } from './rows.js';
import { checkShard, type LoadedShard, loadShard, type ShardsOf } from './shard-file.js';
import type { ListedShard } from './shard-list.js';
import type { Store } from './store.js';

/** Request to a thread: check a file. */
export interface CheckRequest {
  readonly path: string;
  /** Bytes of the file that hold activations. */
  readonly values: { readonly from: number; readonly end: number };
  readonly dtype: ActivationDType;
}

/** A file with this stamp has this hash, and its activations are finite. */
export interface Certificate {
  readonly stamp: string;
  readonly sha256: string;
}

type Checker = Thread<CheckRequest, Certificate | null>;

/** Max threads of a store: enough to hash as fast as most disks read. */
const MOST_THREADS = 4;
/** Reading this many bytes of shards takes less time than starting a thread. */
const SMALL = 2 ** 26;

/** Number of threads for checking this many bytes of shards: none if there are few. */
export function checkingThreads(bytes: number, shards: number, available = cores()): number {
  return bytes < SMALL ? 0 : Math.min(MOST_THREADS, shards, available);
}

/**
 * The shards of a store, which are read repeatedly. The contents of each are checked when it is first read, and again if
 * its file was touched since: in threads alongside the caller or, without threads, by the caller, one at a time.
 */
export class CheckedShards {
  /** For each shard found intact, the stamp of its file at that time. */
  private readonly stamps: ShardStamps;
  private readonly of: ShardsOf;
  private readonly threads: Checker[];
  /** Each read takes one, or waits for one; undefined is the calling thread. */
  private readonly idle: (Checker | undefined)[];
  private readonly waiting: (() => void)[] = [];

  constructor(
    private readonly store: Pick<Store, 'directory' | 'manifest' | 'shards'>,
    threads: number,
  ) {
    const { d_in, dtype } = store.manifest;
    this.of = { directory: store.directory, d_in, dtype };
    this.stamps = new ShardStamps(store.shards.length);
    this.threads = Array.from({ length: threads }, () => {
      const options = { name: "the shards' thread", data: undefined, idle: true };
      return new Thread(new URL('shard-check-worker.js', import.meta.url), options);
    });
    this.idle = threads > 0 ? [...this.threads] : [undefined];
  }

  /**
   * Loads shard i.
   *
   * @param spare memory to reuse: what fits is taken from the list
   * @throws Refusal if it is not what was written, or an activation is not finite
   */
  async read(i: number, spare?: ArrayBuffer[]): Promise<Rows> {
    while (this.idle.length === 0) await new Promise<void>((resolve) => this.waiting.push(resolve));
    const checker = this.idle.pop();
    try {
      const shard = this.store.shards.at(i);
      const loaded = await loadShard(this.of, shard, spare);
      if (!this.stamps.has(i, loaded.stamp) && !(await this.isCertified(shard, loaded, checker))) {
        checkShard(this.of, shard, loaded);
      }
      this.stamps.set(i, loaded.stamp);
      return loaded.rows;
    } finally {
      this.idle.push(checker);
      this.waiting.shift()?.();
    }
  }

  /** Ends the threads, whatever they are reading. */
  async close(): Promise<void> {
    await Promise.all(this.threads.map((thread) => thread.terminate()));
  }

  /** Did a thread find the file intact, and is it the file that was loaded? */
  private async isCertified(
    { file, sha256 }: ListedShard,
    { rows: { activation }, bytes, stamp }: LoadedShard,
    checker: Checker | undefined,
  ): Promise<boolean> {
    if (!checker || stamp === undefined || activation.buffer !== bytes.buffer) return false;
    const from = activation.byteOffset - bytes.byteOffset;
    const values = { from, end: from + activation.byteLength };
    checker.ask({ path: join(this.of.directory, file), values, dtype: this.of.dtype });
    const certificate = await checker.reply();
    return certificate?.stamp === stamp && certificate.sha256 === sha256;
  }
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

  has(i: number, stamp: string | undefined): boolean {
    if (this.known[i] === 0 || stamp === undefined) return false;
    return this.bytes.subarray(STAMP * i, STAMP * (i + 1)).equals(shortened(stamp));
  }

  set(i: number, stamp: string | undefined): void {
    this.known[i] = Number(stamp !== undefined);
    if (stamp !== undefined) shortened(stamp).copy(this.bytes, STAMP * i);
  }
}

const shortened = (stamp: string) => createHash('sha256').update(stamp).digest().subarray(0, STAMP);
