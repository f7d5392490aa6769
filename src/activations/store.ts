import { createHash } from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Refusal } from '../config/refusal.js';
import { decodeShard, type Rows } from './arrow-files.js';
import { notFiniteRow } from './finite.js';
import { type Manifest, readManifest } from './manifest.js';

/** A complete activation store, open for reading. */
export interface Store {
  readonly directory: string;
  readonly manifest: Manifest;
  /** Loads shard i; its hash is checked against the manifest, and every activation is finite. */
  readShard(i: number): Promise<Rows>;
}

/**
 * Opens a store.
 *
 * @throws Refusal when it is not one, or not complete
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
    throw new Refusal(
      `${directory}: the manifest lists shards of ${listed} rows and counts ${manifest.rows}.`,
      'Harvest the store again.',
    );
  }
  return { directory, manifest, readShard: (i) => readShard(directory, manifest, i) };
}

async function readShard(directory: string, manifest: Manifest, i: number): Promise<Rows> {
  const shard = manifest.shards[i]!;
  const path = join(directory, shard.file);
  const bytes = await readFile(path).catch((cause) => {
    throw new Refusal(`${path} is listed in the manifest but could not be read.`, 'Harvest the store again.', {
      cause,
    });
  });
  if (createHash('sha256').update(bytes).digest('hex') !== shard.sha256) {
    throw new Refusal(
      `${path} was changed after it was written (its SHA-256 is not the manifest's).`,
      'Harvest the store again.',
    );
  }
  const rows = decodeShard(bytes, manifest.d_in, manifest.dtype, path);
  if (rows.token.length !== shard.rows) {
    throw new Refusal(
      `${path} holds ${rows.token.length} rows where the manifest says ${shard.rows}.`,
      'Harvest the store again.',
    );
  }
  const wild = notFiniteRow(rows, manifest.dtype);
  if (wild) throw new Refusal(`${path}: ${wild}.`, 'Harvest the store again.');
  return rows;
}
