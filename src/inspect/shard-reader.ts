import { rowBytes } from '../activations/manifest.js';
import type { Rows } from '../activations/rows.js';
import type { ShardsOf } from '../activations/shard-file.js';
import type { ListedShard, ShardList } from '../activations/shard-list.js';
import type { Store } from '../activations/store.js';
import { bufferFor } from '../disk/reading-memory.js';
import { takeFitting } from '../disk/stamped-file.js';
import { type RefusedReply, refusalFrom } from '../errors/refusal.js';
import { cores } from '../machine/cores.js';
import { Thread } from '../progress/thread.js';
import type { OfRows, RowTotals } from './row-sums.js';

const script = new URL('row-worker.js', import.meta.url);

/** Max bytes of shards that are being read and summed; if a single shard is larger, one thread reads one at a time. */
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
 * The shards of a store in order, read, checked and summed in threads while earlier ones are processed. Each thread reads
 * a shard while it sums the one before, within MOST_HELD; one more is the consumer's until it asks for the next. Their
 * memory is reused. Results do not depend on the number of threads.
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
  const most = Math.min(count, Math.max(1, Math.floor(MOST_HELD / (shards.largest * rowBytes(manifest)))));
  const readers = Array.from(
    { length: Math.min(most, threads || cores()) },
    () => new Thread<ShardRequest, SummedReply>(script, { name: "the shards' thread", data }),
  );
  const spare: SharedArrayBuffer[] = [];
  const ask = (i: number) => {
    if (i >= count) return;
    readers[i % readers.length]!.ask({ listed: shards.at(i), into: sharedMemoryFor(shards, i, spare) });
  };
  try {
    const ahead = Math.min(most, 2 * readers.length);
    for (let i = 0; i < ahead; i++) ask(i);
    for (let i = 0; i < count; i++) {
      const reply = await readers[i % readers.length]!.reply();
      if (reply.kind === 'refused') throw refusalFrom(reply);
      ask(i + ahead);
      yield reply.shard;
      const { buffer } = reply.shard.activation;
      if (buffer instanceof SharedArrayBuffer) spare.push(buffer);
    }
  } finally {
    await Promise.all(readers.map((reader) => reader.terminate()));
  }
}

/**
 * Memory that threads share, for shard i: taken from `spare` if it fits; otherwise new, and large enough for any shard of
 * the store. The garbage collector neither counts it nor hurries to collect it, so all of it is reused.
 *
 * @returns undefined if the shard's size is not known
 */
function sharedMemoryFor(shards: ShardList, i: number, spare: SharedArrayBuffer[]): SharedArrayBuffer | undefined {
  const bytes = shards.bytesOf(i);
  if (bytes === undefined) return undefined;
  return takeFitting(spare, bufferFor(bytes)) ?? new SharedArrayBuffer(bufferFor(shards.largestBytes));
}
