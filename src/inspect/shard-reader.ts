import { sharedMemoryFor } from '../activations/checked-shards.js';
import { rowBytes } from '../activations/manifest.js';
import type { Rows } from '../activations/rows.js';
import type { ShardsOf } from '../activations/shard-file.js';
import type { ListedShard } from '../activations/shard-list.js';
import type { Store } from '../activations/store.js';
import { type RefusedReply, refusalFrom } from '../errors/refusal.js';
import { cores } from '../machine/cores.js';
import { Thread } from '../progress/thread.js';
import type { OfRows, RowTotals } from './row-sums.js';

const script = new URL('row-worker.js', import.meta.url);

/** Max bytes of shards held by threads; if a single shard is larger, one thread reads. */
const MOST_HELD = 2 ** 31;

/** The store whose shards a thread reads. */
export interface SummedFrom extends ShardsOf {
  /** c of RowSums, [d] */
  readonly centre: Float64Array;
}

/** A shard to read, and the shared memory for it. */
export interface ShardRequest {
  readonly listed: ListedShard;
  /** undefined if its size is not known */
  readonly into: SharedArrayBuffer | undefined;
}

/** A shard, and its per-row statistics. */
export interface SummedShard extends OfRows, Rows {
  readonly totals: RowTotals;
}

/** A thread's reply to a shard. */
export type SummedReply = { readonly kind: 'shard'; readonly shard: SummedShard } | RefusedReply;

/**
 * The shards of a store in order, read, checked and summed in threads while earlier ones are processed: each thread
 * holds one in memory, plus one held by the consumer, until it asks for the next. Their memory is reused. Results do not
 * depend on the number of threads.
 *
 * @param centre c of RowSums, [d]
 * @param threads max number of threads; 0: one per core
 * @throws Refusal if a shard is not what was written
 */
export async function* shardsInOrder(
  { directory, manifest, shards }: Pick<Store, 'directory' | 'manifest' | 'shards'>,
  centre: Float64Array,
  threads: number,
): AsyncGenerator<SummedShard> {
  const count = shards.length;
  const data: SummedFrom = { directory, d_in: manifest.d_in, dtype: manifest.dtype, centre };
  const readers = Array.from(
    { length: Math.min(count, readersOf(manifest, shards.largest, threads)) },
    () => new Thread<ShardRequest, SummedReply>(script, { name: "the shards' thread", data }),
  );
  const spare: ArrayBufferLike[] = [];
  const ask = (i: number) => {
    if (i >= count) return;
    readers[i % readers.length]!.ask({ listed: shards.at(i), into: sharedMemoryFor(shards, i, spare) });
  };
  try {
    for (const i of readers.keys()) ask(i);
    for (let i = 0; i < count; i++) {
      const reply = await readers[i % readers.length]!.reply();
      if (reply.kind === 'refused') throw refusalFrom(reply);
      ask(i + readers.length);
      yield reply.shard;
      spare.push(reply.shard.activation.buffer);
    }
  } finally {
    await Promise.all(readers.map((reader) => reader.terminate()));
  }
}

/** One per core, within MOST_HELD. */
function readersOf(manifest: Store['manifest'], largest: number, threads: number): number {
  const bytes = largest * rowBytes(manifest);
  return Math.max(1, Math.min(threads || cores(), Math.floor(MOST_HELD / bytes)));
}
