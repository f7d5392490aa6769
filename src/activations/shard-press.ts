/** Turns rows into a shard's file: the Arrow file, its hash, and the sums of the rows' values. */
import { createHash } from 'node:crypto';
import { ifMemoryAllows } from '../machine/webassembly.js';
import { Thread } from '../progress/thread.js';
import { shardChunks } from './arrow-rows.js';
import type { ActivationDType } from './manifest.js';
import type { ActivationArray, Rows } from './rows.js';
import { ShardMemory } from './shard-memory.js';
import { ActivationSums, type PlainSums } from './statistics.js';
import { SumsKernel } from './sums-kernel.js';

/** A shard as it is written. */
export interface PressedShard {
  /** The Arrow file, in pieces. */
  readonly chunks: readonly Uint8Array[];
  readonly bytes: number;
  /** SHA-256 of the file. */
  readonly sha256: string;
  /** Sums of the shard's values. */
  readonly sums: PlainSums;
}

/** Turns shards into files. The pieces may share memory with the rows, which must not change until they are written. */
export interface ShardPress {
  press(rows: Rows, d: number, dtype: ActivationDType): Promise<PressedShard>;
  /** Memory of shards of all stores; if there is none, shards are requested one at a time. */
  readonly memory?: ShardMemory;
  close(): Promise<void>;
}

/** On the thread that asks. */
export const PRESS_HERE: ShardPress = { press: pressShard, close: async () => {} };

/** By width and element type; their memory is small. */
const kernels = new Map<string, Promise<SumsKernel | undefined>>();

function kernelOf(d: number, dtype: ActivationDType): Promise<SumsKernel | undefined> {
  const key = `${d} ${dtype}`;
  const kernel = kernels.get(key) ?? ifMemoryAllows(SumsKernel.open(d, dtype));
  kernels.set(key, kernel);
  return kernel;
}

export async function pressShard(rows: Rows, d: number, dtype: ActivationDType): Promise<PressedShard> {
  const kernel = await kernelOf(d, dtype);
  const sums = new ActivationSums(d);
  const chunks = await shardChunks(rows, d, dtype);
  const hash = createHash('sha256');
  let bytes = 0;
  for (const chunk of chunks) {
    const summed = isAll(rows.activation, chunk);
    // Summed and hashed while it is in the cache.
    if (summed && kernel) kernel.add(rows.activation, sums, (block) => hash.update(block));
    else {
      hash.update(chunk);
      if (summed) sums.add(rows.activation, dtype);
    }
    bytes += chunk.byteLength;
  }
  if (sums.rows !== rows.token.length) throw new Error('the rows of a shard are not a piece of its file');
  return { chunks, bytes, sha256: hash.digest('hex'), sums: sums.plain() };
}

/** Is `chunk` the memory of all `values`? */
function isAll({ buffer, byteOffset, byteLength }: ActivationArray, chunk: Uint8Array): boolean {
  return chunk.buffer === buffer && chunk.byteOffset === byteOffset && chunk.byteLength === byteLength;
}

/** Request to a thread. */
export interface PressRequest {
  readonly rows: Rows;
  readonly d: number;
  readonly dtype: ActivationDType;
}

/** Shards in addition to those in threads: one is being cut and one written. */
export const SHARDS_BESIDE = 2;

/** In threads, used in turn. */
export class PressThreads implements ShardPress {
  private readonly threads: Thread<PressRequest, PressedShard>[];
  /** For each thread, the reply that was requested last. */
  private readonly last: Promise<unknown>[];
  private turn = 0;
  readonly memory: ShardMemory;

  constructor(threads: number) {
    // Shared: transferred memory counts as new memory of its thread, which makes V8 collect garbage.
    this.memory = new ShardMemory(threads + SHARDS_BESIDE, true);
    const script = new URL('shard-press-worker.js', import.meta.url);
    const options = { name: "A store's thread", data: undefined, idle: true };
    this.threads = Array.from({ length: threads }, () => new Thread<PressRequest, PressedShard>(script, options));
    this.last = this.threads.map(() => Promise.resolve());
  }

  press(rows: Rows, d: number, dtype: ActivationDType): Promise<PressedShard> {
    const at = this.turn++ % this.threads.length;
    const thread = this.threads[at]!;
    thread.ask({ rows, d, dtype });
    // A thread replies in the order of its requests.
    const reply = this.last[at]!.then(() => thread.reply());
    this.last[at] = reply.catch(() => {});
    return reply;
  }

  async close(): Promise<void> {
    for (const thread of this.threads) await thread.terminate();
  }
}
