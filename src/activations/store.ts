import { createHash } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Refusal } from '../config/refusal.js';
import { readRegular } from '../disk/regular-file.js';
import { decodeShard, type Rows } from './arrow-files.js';
import { findStore } from './find-store.js';
import { notFiniteRow } from './finite.js';
import { type Manifest, readManifest, rowBytes } from './manifest.js';

/** A complete activation store, open for reading. */
export interface Store {
  readonly directory: string;
  readonly manifest: Manifest;
  /** Loads shard i; its hash is checked against the manifest, and every activation is finite. */
  readShard(i: number): Promise<Rows>;
}

const AGAIN = 'Harvest the store again.';
/** Bytes of a shard whose size no manifest gives, at most: a buffer of Node's hashing. */
const MOST_BYTES = 2 ** 31 - 1;
/** Files looked at together: the file system may be far away, and a manifest may list any number. */
const AT_A_TIME = 64;

/**
 * Opens a store.
 *
 * @param named its directory, or one in which it is the only store
 * @throws Refusal when it is not one, or not complete, or a shard is missing or has another size than was written
 */
export async function openStore(named: string): Promise<Store> {
  const directory = await findStore(named);
  const manifest = await readManifest(directory);
  if (!manifest.complete) {
    throw new Refusal(
      `${directory} is not complete: ${manifest.rows} of ${manifest.rows_wanted} rows.`,
      'Finish it with `sae-pipe harvest … --resume`.',
    );
  }
  const listed = manifest.shards.reduce((sum, shard) => sum + shard.rows, 0);
  if (listed !== manifest.rows) {
    throw new Refusal(`${directory}: the manifest lists shards of ${listed} rows and counts ${manifest.rows}.`, AGAIN);
  }
  if (listed === 0) throw new Refusal(`${directory} holds no rows.`, AGAIN);
  await checkShardFiles(directory, manifest);
  return { directory, manifest, readShard: (i) => readShard(directory, manifest, i) };
}

/**
 * Looks whether the shards that a manifest lists are there in their sizes. Contents are checked by `readShard`, each time
 * that it reads one: hashing a whole store beforehand would read it once more.
 *
 * @throws Refusal naming one that is not
 */
export async function checkShardFiles(directory: string, manifest: Manifest): Promise<void> {
  const { shards } = manifest;
  for (let first = 0; first < shards.length; first += AT_A_TIME) {
    await Promise.all(
      shards.slice(first, first + AT_A_TIME).map((shard) => checkShardFile(directory, shard, manifest)),
    );
  }
}

async function checkShardFile(
  directory: string,
  { file, rows, bytes }: Manifest['shards'][number],
  manifest: Manifest,
): Promise<void> {
  const path = join(directory, file);
  const found = await stat(path).catch((cause) => unreadable(path, cause));
  if (!found.isFile()) throw new Refusal(`${path} is not a file.`, AGAIN);
  if (bytes !== undefined && found.size !== bytes) {
    throw new Refusal(`${path} has ${found.size} bytes, and the manifest says ${bytes}.`, AGAIN);
  }
  // What is asked for by the rows must not be allocated for rows that are nowhere.
  const least = rows * rowBytes(manifest);
  if (found.size < least)
    throw new Refusal(`${path} has ${found.size} bytes, and its ${rows} rows take ${least}.`, AGAIN);
}

function unreadable(path: string, cause: unknown): never {
  throw new Refusal(`${path} is listed in the manifest but could not be read.`, AGAIN, { cause });
}

async function readShard(directory: string, manifest: Manifest, i: number): Promise<Rows> {
  const shard = manifest.shards[i]!;
  const path = join(directory, shard.file);
  // What checkShardFile found is as large as the manifest says.
  const bytes = await readRegular(path, shard.bytes ?? MOST_BYTES, AGAIN);
  if (!bytes) return unreadable(path, undefined);
  const found = createHash('sha256').update(bytes).digest('hex');
  if (found !== shard.sha256) {
    throw new Refusal(
      `${path} was changed after it was written: its SHA-256 is ${found.slice(0, 12)}…, and the manifest says ${shard.sha256.slice(0, 12)}….`,
      AGAIN,
    );
  }
  const rows = decodeShard(bytes, manifest.d_in, manifest.dtype, path);
  if (rows.token.length !== shard.rows) {
    throw new Refusal(`${path} holds ${rows.token.length} rows where the manifest says ${shard.rows}.`, AGAIN);
  }
  const wild = notFiniteRow(rows, manifest.dtype);
  if (wild) throw new Refusal(`${path}: ${wild}.`, 'Harvest the store again.');
  return rows;
}
