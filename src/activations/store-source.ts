import { createHash } from 'node:crypto';
import { memory } from '../machine/memory.js';
import type { ActivationSource, SourceDescription } from './activation-source.js';
import { alignedStores } from './aligned-stores.js';
import { ActivationBatches, bytesPerRow, targetOfStore } from './batches.js';
import { CheckedShards, readingThreads } from './checked-shards.js';
import { normLimitIn, rowBytes } from './manifest.js';
import { ORDER_BYTES, POOL_ROWS, poolRowsWithin } from './pool.js';
import { openStore, type Store } from './store.js';

/** Where a store lies, and how it is read for training. */
interface StoreReading {
  /** As `openStore` takes it. */
  readonly activations: string;
  /** That of the store with the targets; its own rows are their targets if absent. */
  readonly target?: string;
  /** Max rows mixed in memory. */
  readonly poolRows?: number;
  /** That read each store; as many as its size requires if absent. */
  readonly threads?: number;
}

/**
 * A store as a source for training.
 *
 * @throws Refusal when a directory is not a store, or not complete, or the two are not row-aligned
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
    const more = other ? threadsOf(other) * READER_MEMORY : 0;
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
  return readingThreads(manifest.rows * rowBytes(manifest), shards.length);
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

/** Share of the machine's memory that two pools may take. */
const AHEAD_SHARE = 0.25;
/** Bytes of a thread that reads shards, without them: measured, rounded up. */
const READER_MEMORY = 48 * 2 ** 20;

/** What reading a store holds in memory. */
interface StoreMemory {
  /** Bytes. */
  readonly held: number;
  readonly pieceRows: number;
  /** Is a pool read while the one before is dealt? */
  readonly ahead: boolean;
}

/**
 * @param bytes of a row, its target included
 * @param pieceRows rows of its largest shard
 * @param poolRows rows mixed in memory, at most
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
  const threads = readingThreads(rows * bytes, Math.ceil(rows / pieceRows));
  // Next to the pools with their orders, the shard that is being looked at, or was last.
  return { held: (ahead ? 2 : 1) * pool + pieceRows * bytes + threads * READER_MEMORY, pieceRows, ahead };
}
