import { createHash } from 'node:crypto';
import { ActivationBatches } from './batches.js';
import type { ActivationSource } from './source.js';
import { openStore } from './store.js';

/**
 * A store as a source for training.
 *
 * @param poolRows rows mixed in memory, at most
 * @throws Refusal when the directory is no store, or not complete
 */
export async function openStoreSource(directory: string, poolRows?: number): Promise<ActivationSource> {
  const store = await openStore(directory);
  const { model, hook, d_in, dtype, context, corpus, rows, mean_norm, shards } = store.manifest;
  const hash = createHash('sha256');
  for (const shard of shards) hash.update(shard.sha256);
  const identity = hash.digest('hex');
  return {
    about: { place: directory, model, hook, dIn: d_in, dtype, context, corpus, rows, meanNorm: mean_norm, identity },
    batches: (order, seed) => new ActivationBatches(store, order, seed, poolRows),
    close: async () => {},
  };
}
