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

/** A shard in memory, and the stamp that tells whether its file was touched since. */
export interface ReadShard {
  readonly rows: Rows;
  /** undefined if the file changed while it was read. */
  readonly stamp: string | undefined;
}

/** Common properties of all shards of a store. */
export interface ShardsOf {
  readonly directory: string;
  readonly d_in: number;
  readonly dtype: ActivationDType;
}

/** How a shard is read. */
interface Reading {
  /** The stamp of an earlier, verified read: if it is unchanged, the file is not checked again. */
  readonly checked?: string | undefined;
  /** Memory to reuse, taken from the list if it fits. */
  readonly spare?: ArrayBufferLike[];
  /** Does the caller check that every activation is finite? */
  readonly finiteUnknown?: boolean;
}

/**
 * Loads a shard of a store: its hash is checked against the manifest, and every activation is finite.
 *
 * @throws Refusal if it is not what was written, or an activation is not finite
 */
export async function readShard(
  { directory, d_in, dtype }: ShardsOf,
  { file, bytes: size, rows: count, sha256 }: ListedShard,
  { checked, spare, finiteUnknown }: Reading = {},
): Promise<ReadShard> {
  const path = join(directory, file);
  // checkShardFile has compared its size with the manifest's.
  const found = await readStamped(path, size ?? MOST_BYTES, AGAIN, spare);
  if (!found) return unreadable(path, undefined);
  const { bytes } = found;
  const stamp = found.stamp && shortened(found.stamp);
  const known = stamp !== undefined && stamp === checked;
  if (!known) checkHash(path, bytes, sha256);
  const rows = decodeShard(bytes, d_in, dtype, path);
  if (rows.token.length !== count) {
    throw new Refusal(
      `${path} contains ${rows.token.length} rows, but the manifest lists ${count}.`,
      AGAIN,
      'activations/wrong-counts',
    );
  }
  if (!known && !finiteUnknown) checkFinite(path, rows, dtype);
  return { rows, stamp };
}

/** @throws Refusal if an activation is not finite */
export function checkFinite(path: string, rows: Rows, dtype: ActivationDType): void {
  const wild = notFiniteRow(rows, dtype);
  if (wild) throw new Refusal(`${path}: ${wild}.`, AGAIN, 'activations/not-finite');
}

/** A stamp, in hexadecimal; long enough to distinguish files. */
const shortened = (stamp: string) => createHash('sha256').update(stamp).digest('hex').slice(0, 32);

function checkHash(path: string, bytes: Uint8Array, wanted: string): void {
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
