import { createHash } from 'node:crypto';
import { ActivationBatches } from './batches.js';
import { rowBytes } from './manifest.js';
import { ORDER_BYTES, POOL_ROWS, poolRowsWithin } from './pool.js';
import type { ActivationSource } from './source.js';
import { openStore } from './store.js';

/**
 * A store as a source for training.
 *
 * @param named its directory, or one in which it is the only store
 * @param poolRows rows mixed in memory, at most
 * @throws Refusal when the directory is no store, or not complete
 */
export async function openStoreSource(named: string, poolRows?: number): Promise<ActivationSource> {
  const store = await openStore(named);
  const { directory } = store;
  const { model, hook, d_in, dtype, context, corpus, rows, mean_norm, shards } = store.manifest;
  const { exclude_special_tokens: excludedTokens } = store.manifest;
  const hash = createHash('sha256');
  for (const shard of shards) hash.update(shard.sha256);
  const identity = hash.digest('hex');
  return {
    about: {
      ...{ place: directory, model, hook, dIn: d_in, dtype, context, corpus, rows, meanNorm: mean_norm, identity },
      ...(excludedTokens && { excludedTokens }),
    },
    batches: (order, seed) => new ActivationBatches(store, order, seed, poolRows),
    memory: () => storeMemory(store.manifest, rows, Math.max(...shards.map((shard) => shard.rows)), poolRows),
    close: async () => {},
  };
}

/**
 * What reading a store holds in memory, bytes.
 *
 * @param pieceRows rows of its largest shard
 * @param poolRows rows mixed in memory, at most
 */
export function storeMemory(
  row: Parameters<typeof rowBytes>[0],
  rows: number,
  pieceRows: number,
  poolRows = POOL_ROWS,
): { readonly held: number; readonly pieceRows: number } {
  const inPool = Math.min(rows, Math.max(pieceRows, poolRowsWithin(poolRows, row)));
  // Next to a pool with its order, the shard that is being read, or was last.
  return { held: inPool * (rowBytes(row) + ORDER_BYTES) + pieceRows * rowBytes(row), pieceRows };
}
