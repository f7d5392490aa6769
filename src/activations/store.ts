import { createHash } from 'node:crypto';
import { readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Refusal } from '../config/refusal.js';
import { checkInside } from '../disk/inside.js';
import { decodeShard, type Rows } from './arrow-files.js';
import { type Manifest, readManifest, rowBytes } from './manifest.js';

/** A complete activation store, open for reading. */
export interface Store {
  readonly directory: string;
  readonly manifest: Manifest;
  /** Loads shard i; its hash is checked against the manifest. */
  readShard(i: number): Promise<Rows>;
}

const AGAIN = 'Harvest the store again.';

/**
 * Opens a store.
 *
 * @throws Refusal when it is not one, or not complete, or a shard is too small for its rows
 */
export async function openStore(directory: string): Promise<Store> {
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
  // What is asked for by the rows must not be allocated for rows that are nowhere.
  for (const { file, rows } of manifest.shards) {
    const path = join(directory, file);
    await checkInside(path);
    const { size, isFile } = await stat(path).then(
      (found) => ({ size: found.size, isFile: found.isFile() }),
      (cause) => {
        throw new Refusal(`${path} is listed in the manifest but could not be read.`, AGAIN, { cause });
      },
    );
    if (!isFile) throw new Refusal(`${path} is not a file.`, AGAIN);
    if (size < rows * rowBytes(manifest)) {
      throw new Refusal(`${path} has ${size} bytes, too few for the ${rows} rows that the manifest lists.`, AGAIN);
    }
  }
  return { directory, manifest, readShard: (i) => readShard(directory, manifest, i) };
}

async function readShard(directory: string, manifest: Manifest, i: number): Promise<Rows> {
  const shard = manifest.shards[i]!;
  const path = join(directory, shard.file);
  const bytes = await readFile(path).catch((cause) => {
    throw new Refusal(`${path} is listed in the manifest but could not be read.`, AGAIN, {
      cause,
    });
  });
  if (createHash('sha256').update(bytes).digest('hex') !== shard.sha256) {
    throw new Refusal(`${path} was changed after it was written (its SHA-256 is not the manifest's).`, AGAIN);
  }
  const rows = decodeShard(bytes, manifest.d_in, manifest.dtype, path);
  if (rows.token.length !== shard.rows) {
    throw new Refusal(`${path} holds ${rows.token.length} rows where the manifest says ${shard.rows}.`, AGAIN);
  }
  return rows;
}
