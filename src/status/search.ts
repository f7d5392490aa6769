import type { Dirent } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** Max directories to search: someone may give a whole home directory. */
export const MOST_DIRECTORIES = 5000;

/** How a search proceeds after a directory. */
export type Next = 'below' | 'skip' | 'stop';

/**
 * Visits a directory and those below it, nearer ones first. Symbolic links, hidden and unreadable directories are
 * skipped.
 *
 * @param visit returns whether to search below the directory too, or to end the search
 * @returns false if not everything was searched
 */
export async function search(
  root: string,
  visit: (directory: string, entries: readonly Dirent[]) => Next | Promise<Next>,
  most = MOST_DIRECTORIES,
): Promise<boolean> {
  const queue = [root];
  // The loop reaches what it appends.
  for (const directory of queue) {
    const entries = await readdir(directory, { withFileTypes: true }).catch((): Dirent[] => []);
    const next = await visit(directory, entries);
    if (next === 'stop') return false;
    if (next === 'skip') continue;
    for (const entry of entries) {
      if (!entry.isDirectory() || entry.name.startsWith('.') || entry.name === 'node_modules') continue;
      if (queue.length >= most) return false;
      queue.push(join(directory, entry.name));
    }
  }
  return true;
}
