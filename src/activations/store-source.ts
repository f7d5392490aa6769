import { createHash } from 'node:crypto';
import { memory } from '../machine/memory.js';
import type { ActivationSource, SourceDescription } from './activation-source.js';
import { alignedStores } from './aligned-stores.js';
import { ActivationBatches, bytesPerRow, targetOfStore } from './batches.js';
import { CheckedShards, checkingThreads } from './checked-shards.js';
import { normLimitIn, rowBytes } from './manifest.js';
import { ORDER_BYTES, POOL_ROWS, poolRowsWithin } from './pool.js';
import { openStore, type Store } from './store.js';

/** The location of a store, and how it is read for training. */
interface StoreReading {
  /** As for `openStore`. */
  readonly activations: string;
  /** The store with the targets; if absent, the rows are their own targets. */
  readonly target?: string;
  /** Max rows mixed in memory. */
  readonly poolRows?: number;
  /** Threads per store; by default depends on its size. */
  readonly threads?: number;
}

/**
 * A store as a source for training.
 *
 * @throws Refusal if a directory is not a complete store, or the two are not row-aligned
 */
export async function openStoreSource({
  activations,
  target,
  poolRows,
  threads,
}: StoreReading): Promise<ActivationSource> {
  const opened = [await openStore(activations)];
  if (target !== undefined) opened.push(await openStore(target));
  const readers = opened.map((store) => new CheckedShards(store, threads ?? threadsOf(store)));
  const [input, other] = opened.map((store, k) => ({ ...store, readShard: readers[k]!.read.bind(readers[k]) }));
  const close = async () => {
    await Promise.all(readers.map((reader) => reader.close()));
  };
  try {
    const store = other ? alignedStores(input!, other) : input!;
    const { rows } = store.manifest;
    const pieceRows = store.shards.largest;
    const needed = storeMemory(bytesPerRow(store), rows, pieceRows, poolRows);
    const more = other ? threadsOf(other) * CHECKER_MEMORY : 0;
    const memory = { ...needed, held: needed.held + more };
    return {
      about: describeStore(store),
      batches: (order, seed) => new ActivationBatches(store, order, seed, poolRows, memory.ahead),
      memory: () => memory,
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function threadsOf({ manifest, shards }: Store): number {
  return checkingThreads(manifest.rows * rowBytes(manifest), shards.length);
}

function describeStore({ directory: place, manifest, shards, target }: Store): SourceDescription {
  const { model, hook, d_in: dIn, dtype, context, corpus, rows, mean_norm: meanNorm } = manifest;
  const { prepend_bos: prependBos, exclude_special_tokens: excludedTokens } = manifest;
  const normLimit = normLimitIn(manifest);
  const hash = createHash('sha256');
  for (const { sha256 } of shards) hash.update(sha256);
  for (const { sha256 } of target?.shards ?? []) hash.update(sha256);
  return {
    ...{ place, model, hook, dIn, dtype, context, prependBos, corpus, rows, meanNorm, identity: hash.digest('hex') },
    ...(target && { target: targetOfStore(target.manifest) }),
    ...(excludedTokens && { excludedTokens }),
    ...(manifest.documents && { documents: manifest.documents }),
    ...(manifest.text_read?.length && { read: manifest.text_read }),
    ...(manifest.chat && { chat: manifest.chat }),
    ...(normLimit && { normLimit }),
  };
}

/** Max share of the machine's memory for two pools. */
const AHEAD_SHARE = 0.25;
/** Bytes of a thread that checks shards: measured while it read them, too, and rounded up. */
const CHECKER_MEMORY = 48 * 2 ** 20;

/** Memory for reading a store. */
interface StoreMemory {
  /** Bytes. */
  readonly held: number;
  readonly pieceRows: number;
  /** Is a pool read while the previous one is dealt? */
  readonly ahead: boolean;
}

/**
 * @param bytes of a row, its target included
 * @param pieceRows rows of its largest shard
 * @param poolRows max rows mixed in memory
 * @param limit bytes of memory that this process may take
 */
export function storeMemory(
  bytes: number,
  rows: number,
  pieceRows: number,
  poolRows = POOL_ROWS,
  limit = memory().limit,
): StoreMemory {
  const inPool = Math.min(rows, Math.max(pieceRows, poolRowsWithin(poolRows, bytes)));
  const pool = inPool * (bytes + ORDER_BYTES);
  const ahead = inPool < rows && 2 * pool <= AHEAD_SHARE * limit;
  const threads = checkingThreads(rows * bytes, Math.ceil(rows / pieceRows));
  // In addition to the pools with their orders, the shard that is being sampled, or was last.
  return { held: (ahead ? 2 : 1) * pool + pieceRows * bytes + threads * CHECKER_MEMORY, pieceRows, ahead };
}
