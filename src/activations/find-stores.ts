import { existsSync } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { isPattern, listedPaths } from '../config/path-list.js';
import { globMatcher } from '../corpus/glob.js';
import { exists } from '../disk/input-file.js';
import { Refusal } from '../errors/refusal.js';
import { manifestPath } from './manifest.js';

/** Name of the directory of part `index`, below that of its hook: names stand in the order of parts. */
export const partName = ({ index, of }: { readonly index: number; readonly of: number }): string =>
  `part-${String(index).padStart(String(of - 1).length, '0')}-of-${of}`;

/** The part whose directory has this name; undefined for any other name. */
export function partNamed(name: string): { index: number; of: number } | undefined {
  const [, index, of] = /^part-(\d{1,9})-of-(\d{1,9})$/.exec(name) ?? [];
  return index === undefined ? undefined : { index: Number(index), of: Number(of) };
}

/**
 * The directories of the stores given by a path: a store, or the parts of one. A path is a directory, or a
 * pattern with *, ? or [ ] for several; lists are separated by commas. A directory stands for itself, for the parts
 * in it, or for the only store in it (a harvest's --out has one per hook).
 *
 * @returns at least one; a directory without one is returned itself, for its reader to refuse
 * @throws Refusal if a pattern matches nothing, or a directory contains several stores that are not parts
 */
export async function findStores(named: string): Promise<string[]> {
  const found: string[] = [];
  for (const path of await pathsOf(named)) found.push(...(await storesAt(path)));
  return [...new Set(found)];
}

/** The given paths, with patterns expanded; an existing path of exactly this name takes precedence. */
async function pathsOf(named: string): Promise<string[]> {
  if (await exists(named)) return [named];
  const paths: string[] = [];
  for (const one of listedPaths(named)) {
    if (!isPattern(one) || (await exists(one))) {
      paths.push(one);
      continue;
    }
    const matched = await matching(one);
    if (matched.length === 0) {
      throw new Refusal(
        `No path matches ${one}.`,
        'Check the pattern; ls shows what it matches.',
        'activations/no-match',
      );
    }
    paths.push(...matched);
  }
  return paths;
}

/** Directories that a pattern matches, name by name, in order. */
async function matching(pattern: string): Promise<string[]> {
  let found = [pattern.startsWith('/') ? '/' : ''];
  for (const name of pattern.split('/').filter((part) => part !== '')) {
    const next: string[] = [];
    const matches = globMatcher(name);
    const plain = !isPattern(name);
    for (const directory of found) {
      const names = plain ? [name] : (await readdir(directory || '.').catch((): string[] => [])).sort();
      const hidden = name.startsWith('.');
      for (const one of names) {
        if (!plain && (!matches(one) || (one.startsWith('.') && !hidden))) continue;
        const path = join(directory, one);
        if ((await stat(path).catch(() => undefined))?.isDirectory()) next.push(path);
      }
    }
    found = next;
  }
  return found;
}

async function storesAt(directory: string): Promise<string[]> {
  if (await isStore(directory)) return [directory];
  const names = (await readdir(directory).catch((): string[] => [])).sort();
  const parts = await partsIn(directory, names);
  if (parts.length > 0) return parts;
  const stores: { name: string; directories: string[] }[] = [];
  for (const name of names) {
    const path = join(directory, name);
    if (await isStore(path)) stores.push({ name, directories: [path] });
    else {
      const within = await partsIn(path, await readdir(path).catch((): string[] => []));
      if (within.length > 0) stores.push({ name, directories: within });
    }
  }
  if (stores.length > 1) {
    const list = stores.map(({ name }) => name);
    throw new Refusal(
      `${directory} holds ${stores.length} stores: ${list.join(', ')}.`,
      `Name one of them, e.g. ${join(directory, list[0]!)}.`,
      'activations/several-stores',
    );
  }
  return stores[0]?.directories ?? [directory];
}

const isStore = (directory: string) => exists(manifestPath(directory));

/** Directories of parts, by their names. */
async function partsIn(directory: string, names: readonly string[]): Promise<string[]> {
  const parts: string[] = [];
  for (const name of names) {
    const path = join(directory, name);
    if (partNamed(name) && (await isStore(path))) parts.push(path);
  }
  return parts.sort();
}

/** The stores of a hook below directories with one per hook, given as for `findStores`. */
export const storesOfHook = (named: string, hook: string): string =>
  (existsSync(named) ? [named] : listedPaths(named)).map((path) => join(path, hook)).join(',');

/** Names of the entries of these directories; a missing one is refused when its stores are opened. */
export async function hooksIn(named: string): Promise<string[]> {
  const names = new Set<string>();
  for (const directory of await pathsOf(named)) {
    for (const name of await readdir(directory).catch((): string[] => [])) names.add(name);
  }
  return [...names].sort();
}
