import { CheckedShards, type ShardsOf } from '../activations/checked-shards.js';
import type { Rows } from '../activations/rows.js';

/**
 * The shards of a store in order, read and checked in another thread while the one before is worked on: two are in
 * memory.
 *
 * @throws Refusal where a shard is not what was written
 */
export async function* shardsInOrder({ directory, manifest }: ShardsOf): AsyncGenerator<Rows> {
  const shards = new CheckedShards({ directory, manifest }, 1);
  const begin = (i: number) => {
    const rows = shards.read(i);
    // What fails is told when the shard is asked for.
    rows.catch(() => {});
    return rows;
  };
  try {
    const count = manifest.shards.length;
    let next = begin(0);
    for (let i = 0; i < count; i++) {
      const rows = await next;
      if (i + 1 < count) next = begin(i + 1);
      yield rows;
    }
  } finally {
    await shards.close();
  }
}
