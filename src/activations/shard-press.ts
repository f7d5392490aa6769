/** What becomes of rows on their way into a store's file: their Arrow file, its hash, and the sums of their values. */
import { createHash } from 'node:crypto';
import { Thread } from '../progress/thread.js';
import type { ActivationDType } from './manifest.js';
import { buffersOf, type Rows, shardChunks } from './rows.js';
import { ActivationSums, type PlainSums } from './statistics.js';

/** A shard as it is written. */
export interface PressedShard {
  /** The Arrow file, in pieces. */
  readonly chunks: readonly Uint8Array[];
  readonly bytes: number;
  /** Of the file. */
  readonly sha256: string;
  /** Of the shard's values. */
  readonly sums: PlainSums;
  /** The shard's memory, which serves again when the pieces are written. */
  readonly rows: Rows;
}

/** Makes shards into files. The rows are not to be touched before they come back. */
export interface ShardPress {
  press(rows: Rows, d: number, dtype: ActivationDType): Promise<PressedShard>;
  /** Shards that are worth asking for before the first has come. */
  readonly ahead: number;
  close(): Promise<void>;
}

/** On the thread that asks. */
export const PRESS_HERE: ShardPress = { press: pressShard, ahead: 0, close: async () => {} };

export async function pressShard(rows: Rows, d: number, dtype: ActivationDType): Promise<PressedShard> {
  const sums = new ActivationSums(d);
  sums.add(rows.activation, dtype);
  const chunks = await shardChunks(rows, d, dtype);
  const hash = createHash('sha256');
  let bytes = 0;
  for (const chunk of chunks) {
    hash.update(chunk);
    bytes += chunk.byteLength;
  }
  return { chunks, bytes, sha256: hash.digest('hex'), sums: sums.plain(), rows };
}

/** What a thread is asked for. */
export interface PressRequest {
  readonly rows: Rows;
  readonly d: number;
  readonly dtype: ActivationDType;
}

/** In threads, which take turns. */
export class PressThreads implements ShardPress {
  private readonly threads: Thread<PressRequest, PressedShard>[];
  /** Of each thread, the reply that was asked for last. */
  private readonly last: Promise<unknown>[];
  private turn = 0;

  /** @param ahead threads */
  constructor(readonly ahead: number) {
    const script = new URL('shard-press-worker.js', import.meta.url);
    const options = { name: "A store's thread", data: undefined, idle: true };
    this.threads = Array.from({ length: ahead }, () => new Thread<PressRequest, PressedShard>(script, options));
    this.last = this.threads.map(() => Promise.resolve());
  }

  press(rows: Rows, d: number, dtype: ActivationDType): Promise<PressedShard> {
    const at = this.turn++ % this.threads.length;
    const thread = this.threads[at]!;
    thread.ask({ rows, d, dtype }, buffersOf(rows));
    // Replies of a thread come in the order in which it was asked.
    const reply = this.last[at]!.then(() => thread.reply());
    this.last[at] = reply.catch(() => {});
    return reply;
  }

  async close(): Promise<void> {
    for (const thread of this.threads) await thread.terminate();
  }
}
