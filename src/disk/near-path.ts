import { readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { nearest } from '../config/nearest.js';

/** Entries of a directory that are compared, at most. */
const MOST = 10_000;

/**
 * The path that one which does not exist is probably a slip of: another entry of the same directory, or, where that
 * does not exist either, of its own slip.
 */
export async function nearPath(path: string): Promise<string | undefined> {
  const parent = dirname(path);
  const names = await readdir(parent).catch(() => undefined);
  if (names === undefined) {
    const near = parent === path ? undefined : await nearPath(parent);
    if (near === undefined) return undefined;
    const there = (await readdir(near).catch((): string[] => [])).includes(basename(path));
    return there ? join(near, basename(path)) : undefined;
  }
  const [name] = nearest(basename(path), names.slice(0, MOST), 1);
  return name === undefined || name === basename(path) ? undefined : join(parent, name);
}
