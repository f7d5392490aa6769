import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { Refusal } from '../config/refusal.js';
import { exists } from '../disk/exists.js';
import { manifestPath } from './manifest.js';

/**
 * The store that is meant by a directory: itself, or the only one in it. A harvest's --out holds one store per hook.
 *
 * @returns the directory itself where there is none, which its reader explains
 * @throws Refusal naming all where there are several
 */
export async function findStore(directory: string): Promise<string> {
  if (await exists(manifestPath(directory))) return directory;
  const names = await readdir(directory).catch((): string[] => []);
  const stores: string[] = [];
  for (const name of names.sort()) if (await exists(manifestPath(join(directory, name)))) stores.push(name);
  if (stores.length > 1) {
    throw new Refusal(
      `${directory} holds ${stores.length} stores: ${stores.join(', ')}.`,
      `Name one of them, e.g. ${join(directory, stores[0]!)}.`,
    );
  }
  return stores.length === 1 ? join(directory, stores[0]!) : directory;
}
