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
  /** The store whose rows are the targets of these, if there is one. */
  readonly target?: Pick<Store, 'directory' | 'manifest' | 'shards'>;
  /**
   * Loads shard i; its hash is checked against the manifest, and every activation is finite.
   *
   * @param spare memory that is not needed any more, taken from the list where it fits
   */
  readShard(i: number, spare?: ArrayBuffer[]): Promise<Examples>;
}

/** Files checked at once: the file system may be far away, and a manifest may list any number. */
const AT_A_TIME = 64;

/**
 * Opens a store, or all parts of one as one.
 *
 * @param named as `findStores` takes it
 * @throws Refusal when it is not one, or not complete, or a part or a shard is missing or has another size than was written
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
  if (listed === 0) throw new Refusal(`${directory} holds no rows.`, AGAIN, 'activations/no-rows');
  await checkShardFiles(directory, manifest);
  const shards = new ShardList(manifest.shards);
  const { d_in, dtype } = manifest;
  return {
    ...withoutShards(found),
    shards,
    parts: found.parts.map(withoutShards),
    readShard: async (i) => (await readShard({ directory, d_in, dtype }, shards.at(i))).rows,
  };
}

function withoutShards({ directory, manifest: { shards: _, ...manifest } }: StorePart): StorePlace {
  return { directory, manifest };
}

/**
 * What a store, or all parts of one, say of themselves; none of their rows is looked for.
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
  if (!found.isFile()) throw new Refusal(`${path} is not a file.`, AGAIN, 'activations/shard-not-a-file');
  if (bytes !== undefined && found.size !== bytes) {
    throw new Refusal(
      `${path} has ${found.size} bytes, and the manifest says ${bytes}.`,
      AGAIN,
      'activations/shard-size',
    );
  }
  // What is requested by the rows must not be allocated for rows that are nowhere.
  const least = rows * rowBytes(manifest);
  if (found.size < least)
    throw new Refusal(
      `${path} has ${found.size} bytes, and its ${rows} rows take ${least}.`,
      AGAIN,
      'activations/shard-size',
    );
}
