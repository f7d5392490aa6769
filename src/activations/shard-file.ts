import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { readStamped } from '../disk/stamped-file.js';
import { Refusal } from '../errors/refusal.js';
import { decodeShard } from './arrow-rows.js';
import type { ActivationDType } from './manifest.js';
import { notFiniteRow, type Rows } from './rows.js';
import type { ListedShard } from './shard-list.js';

export const AGAIN = 'Harvest the store again.';
/** Max bytes of a shard whose size no manifest gives: a buffer of Node's hashing. */
const MOST_BYTES = 2 ** 31 - 1;

/** A shard in memory, unchecked. */
export interface LoadedShard {
  readonly rows: Rows;
  /** Its file. */
  readonly bytes: Uint8Array;
  /** Tells whether the file was touched since (disk/stamped-file.ts); undefined if that happened while it was read. */
  readonly stamp: string | undefined;
}

/** Common properties of all shards of a store. */
export interface ShardsOf {
  readonly directory: string;
  readonly d_in: number;
  readonly dtype: ActivationDType;
}

/**
 * Loads a shard of a store, with as many rows as the manifest lists, which `checkShard` then checks.
 *
 * @param spare memory to reuse: what fits is taken from the list
 * @throws Refusal if it cannot be read, or is not a shard of this store
 */
export async function loadShard(
  { directory, d_in, dtype }: ShardsOf,
  { file, bytes: size, rows: count, sha256 }: ListedShard,
  spare?: ArrayBufferLike[],
): Promise<LoadedShard> {
  const path = join(directory, file);
  // checkShardFile has compared its size with the manifest's.
  const found = await readStamped(path, size ?? MOST_BYTES, AGAIN, spare);
  if (!found) return unreadable(path, undefined);
  const { bytes, stamp } = found;
  try {
    const rows = decodeShard(bytes, d_in, dtype, path);
    if (rows.token.length === count) return { rows, bytes, stamp };
    throw new Refusal(
      `${path} contains ${rows.token.length} rows, but the manifest lists ${count}.`,
      AGAIN,
      'activations/wrong-counts',
    );
  } catch (error) {
    // Usually because it was changed, which says more.
    checkHash(path, bytes, sha256);
    throw error;
  }
}

/** @throws Refusal if a shard is not what was written, or an activation is not finite */
export function checkShard({ directory, dtype }: ShardsOf, { file, sha256 }: ListedShard, loaded: LoadedShard): void {
  const path = join(directory, file);
  checkHash(path, loaded.bytes, sha256);
  checkFinite(path, loaded.rows, dtype);
}

/**
 * Loads a shard of a store and checks it.
 *
 * @throws Refusal if it is not what was written, or an activation is not finite
 */
export async function readShard(of: ShardsOf, listed: ListedShard): Promise<Rows> {
  const loaded = await loadShard(of, listed);
  checkShard(of, listed, loaded);
  return loaded.rows;
}

/** @throws Refusal if an activation is not finite */
export function checkFinite(path: string, rows: Rows, dtype: ActivationDType): void {
  const wild = notFiniteRow(rows, dtype);
  if (wild) throw new Refusal(`${path}: ${wild}.`, AGAIN, 'activations/not-finite');
}

/** @throws Refusal if a shard's file has another hash than the manifest lists */
export function checkHash(path: string, bytes: Uint8Array, wanted: string): void {
  const found = createHash('sha256').update(bytes).digest('hex');
  if (found === wanted) return;
  throw new Refusal(
    `${path} was changed after it was written: its SHA-256 is ${found.slice(0, 12)}…, but the manifest lists ${wanted.slice(0, 12)}….`,
    AGAIN,
    'activations/shard-changed',
  );
}

/** @throws Refusal always */
export function unreadable(path: string, cause: unknown): never {
  throw new Refusal(`${path} is listed in the manifest but could not be read.`, AGAIN, 'activations/no-shard', {
    cause,
  });
}
