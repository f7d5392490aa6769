import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Refusal } from '../errors/refusal.js';
import { findStores } from './find-stores.js';
import { type Manifest, readManifest, rowBytes } from './manifest.js';
import type { Examples } from './rows.js';
import { AGAIN, readShard, unreadable } from './shard-file.js';
import { ShardList } from './shard-list.js';
import { joinParts, type StorePart } from './store-parts.js';

/** A manifest without its shards, which a reader keeps as a ShardList. */
export type StoreManifest = Omit<Manifest, 'shards'>;

/** Where a store is, or a part of one. */
export interface StorePlace {
  readonly directory: string;
  readonly manifest: StoreManifest;
}

/** A complete activation store, open for reading. */
export interface Store extends StorePlace {
  readonly shards: ShardList;
  /** Where its files are: the store itself, or the parts that `manifest` joins. */
  readonly parts: readonly StorePlace[];
  /** The store with the targets of these rows, if any. */
  readonly target?: Pick<Store, 'directory' | 'manifest' | 'shards'>;
  /**
   * Loads shard i; its hash is checked against the manifest, and every activation is finite.
   *
   * @param spare memory to reuse, taken from the list if it fits
   */
  readShard(i: number, spare?: ArrayBuffer[]): Promise<Examples>;
}

/** Files checked at a time: the file system may be slow, and a manifest may list any number. */
const AT_A_TIME = 64;

/**
 * Opens a store, or all parts of one as one.
 *
 * @param named as for `findStores`
 * @throws Refusal if it is not a complete store, or a part or a shard is missing or of the wrong size
 */
export async function openStore(named: string): Promise<Store> {
  const found = await findStore(named);
  const { directory, manifest } = found;
  if (!manifest.complete) {
    throw new Refusal(
      `${directory} is not complete: ${manifest.rows} of ${manifest.rows_wanted} rows.`,
      'Finish it with `sae-pipe harvest … --resume`.',
      'activations/incomplete',
    );
  }
  const listed = manifest.shards.reduce((sum, shard) => sum + shard.rows, 0);
  if (listed !== manifest.rows) {
    throw new Refusal(
      `${directory}: the manifest lists shards of ${listed} rows and counts ${manifest.rows}.`,
      AGAIN,
      'activations/wrong-counts',
    );
  }
  if (listed === 0) throw new Refusal(`${directory} contains no rows.`, AGAIN, 'activations/no-rows');
  await checkShardFiles(directory, manifest);
  const shards = new ShardList(manifest.shards);
  const { d_in, dtype } = manifest;
  return {
    ...withoutShards(found),
    shards,
    parts: found.parts.map(withoutShards),
    readShard: (i) => readShard({ directory, d_in, dtype }, shards.at(i)),
  };
}

function withoutShards({ directory, manifest: { shards: _, ...manifest } }: StorePart): StorePlace {
  return { directory, manifest };
}

/**
 * The manifest of a store, or of all parts of one; shards are not checked.
 *
 * @throws Refusal if there is no store, or the parts are not all of one
 */
export async function findStore(named: string): Promise<StorePart & { readonly parts: readonly StorePart[] }> {
  const parts: StorePart[] = [];
  for (const directory of await findStores(named)) parts.push({ directory, manifest: await readManifest(directory) });
  const [one] = parts;
  return { ...(parts.length === 1 && !one!.manifest.part ? one! : joinParts(parts)), parts };
}

/**
 * Checks that the shards that a manifest lists exist with their sizes. Contents are checked by `readShard` whenever it
 * reads one: hashing a whole store beforehand would read it once more.
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
  if (!found.isFile()) throw new Refusal(`${path} is not a file.`, AGAIN, 'activations/shard-not-a-file');
  if (bytes !== undefined && found.size !== bytes) {
    throw new Refusal(
      `${path} has ${found.size} bytes, but the manifest lists ${bytes}.`,
      AGAIN,
      'activations/shard-size',
    );
  }
  // Memory is allocated by the number of rows, which must not exceed those in the file.
  const least = rows * rowBytes(manifest);
  if (found.size < least)
    throw new Refusal(
      `${path} has ${found.size} bytes, but its ${rows} rows need ${least}.`,
      AGAIN,
      'activations/shard-size',
    );
}
