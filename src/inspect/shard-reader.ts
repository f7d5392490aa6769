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

/** Bytes of shards that threads may hold together; where one shard is larger, one thread reads. */
const MOST_HELD = 2 ** 31;

/** What a thread knows of the store whose shards it reads. */
export interface SummedFrom extends ShardsOf {
  /** c of RowSums, [d] */
  readonly centre: Float64Array;
}

/** A shard, and what its thread found of its rows. */
export interface SummedShard extends OfRows, Rows {
  readonly totals: RowTotals;
}

/** What a thread answers to a shard that it is given. */
export type SummedReply = { readonly kind: 'shard'; readonly shard: SummedShard } | RefusedReply;

/**
 * The shards of a store in order, read, checked and added up in threads while those before are worked on: each thread has
 * one in memory, and whoever takes them another. What comes does not depend on the number of threads.
 *
 * @param centre c of RowSums, [d]
 * @param threads at most; 0: one a core
 * @throws Refusal where a shard is not what was written
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
    () => new Thread<ListedShard, SummedReply>(script, { name: "the shards' thread", data }),
  );
  try {
    for (const [i, reader] of readers.entries()) reader.ask(shards.at(i));
    for (let i = 0; i < count; i++) {
      const reader = readers[i % readers.length]!;
      const reply = await reader.reply();
      if (reply.kind === 'refused') throw refusalFrom(reply);
      if (i + readers.length < count) reader.ask(shards.at(i + readers.length));
      yield reply.shard;
    }
  } finally {
    await Promise.all(readers.map((reader) => reader.terminate()));
  }
}

/** One per core, as far as MOST_HELD allows. */
function readersOf(manifest: Store['manifest'], largest: number, threads: number): number {
  const bytes = largest * rowBytes(manifest);
  return Math.max(1, Math.min(threads || cores(), Math.floor(MOST_HELD / bytes)));
}
