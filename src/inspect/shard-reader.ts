import { rowBytes } from '../activations/manifest.js';
import type { Rows } from '../activations/rows.js';
import type { Store } from '../activations/store.js';
import { type RefusedReply, refusalFrom } from '../errors/refusal.js';
import { cores } from '../machine/cores.js';
import { Thread } from '../progress/thread.js';
import type { OfRows, RowTotals } from './row-sums.js';

const script = new URL('row-worker.js', import.meta.url);

/** Bytes of shards that threads may hold together; where one shard is larger, one thread reads. */
const MOST_HELD = 2 ** 31;

/** Whose shards are read. */
export interface SummedFrom extends Pick<Store, 'directory' | 'manifest'> {
  /** c of RowSums, [d] */
  readonly centre: Float64Array;
}

/** A shard, and what its thread found of its rows. */
export interface SummedShard extends OfRows, Pick<Rows, 'token' | 'context' | 'pos'> {
  /** [rows × d] */
  readonly x: Float32Array;
  readonly totals: RowTotals;
}

/** What a thread answers to the number of a shard. */
export type SummedReply = { readonly kind: 'shard'; readonly shard: SummedShard } | RefusedReply;

/**
 * The shards of a store in order, read, checked and added up in threads while those before are worked on: each thread has
 * one in memory, and whoever takes them another. What comes does not depend on the number of threads.
 *
 * @param threads at most; 0: one a core
 * @throws Refusal where a shard is not what was written
 */
export async function* shardsInOrder(of: SummedFrom, threads: number): AsyncGenerator<SummedShard> {
  const count = of.manifest.shards.length;
  const readers = Array.from(
    { length: Math.min(count, readersOf(of.manifest, threads)) },
    () => new Thread<number, SummedReply>(script, { name: "the shards' thread", data: of }),
  );
  try {
    for (const [i, reader] of readers.entries()) reader.ask(i);
    for (let i = 0; i < count; i++) {
      const reader = readers[i % readers.length]!;
      const reply = await reader.reply();
      if (reply.kind === 'refused') throw refusalFrom(reply);
      if (i + readers.length < count) reader.ask(i + readers.length);
      yield reply.shard;
    }
  } finally {
    await Promise.all(readers.map((reader) => reader.terminate()));
  }
}

/** One a core, as far as MOST_HELD allows: a thread has a shard as it was read, and in float32. */
function readersOf(manifest: Store['manifest'], threads: number): number {
  const { d_in: d, dtype, shards } = manifest;
  const widened = dtype === 'float32' ? 0 : 4 * d;
  const largest = shards.reduce((most, { rows }) => Math.max(most, rows), 1);
  const bytes = largest * (rowBytes(manifest) + widened);
  return Math.max(1, Math.min(threads || cores(), Math.floor(MOST_HELD / bytes)));
}
