import type { Rows } from '../activations/rows.js';
import type { Store } from '../activations/store.js';
import { type RefusedReply, refusalFrom } from '../errors/refusal.js';
import { Thread } from '../progress/thread.js';

/** Whose shards are read. */
export type ShardsOf = Pick<Store, 'directory' | 'manifest'>;
/** What the thread answers to the number of a shard. */
export type ShardReply = { readonly kind: 'shard'; readonly rows: Rows } | RefusedReply;

/**
 * The shards of a store in order, read and checked in a thread of their own while the one before is worked on: two are in
 * memory.
 *
 * @throws Refusal where a shard is not what was written
 */
export async function* shardsInOrder({ directory, manifest }: ShardsOf): AsyncGenerator<Rows> {
  const data: ShardsOf = { directory, manifest };
  const thread = new Thread<number, ShardReply>(new URL('shard-worker.js', import.meta.url), {
    ...{ name: "the shards' thread", data },
  });
  try {
    const count = manifest.shards.length;
    thread.ask(0);
    for (let i = 0; i < count; i++) {
      const reply = await thread.reply();
      if (reply.kind === 'refused') throw refusalFrom(reply);
      if (i + 1 < count) thread.ask(i + 1);
      yield reply.rows;
    }
  } finally {
    await thread.terminate();
  }
}
