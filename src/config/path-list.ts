import { existsSync } from 'node:fs';
import { resolve } from 'node:path';

/** Does a path stand for several, by *, ?, [ ] or { }? */
export const isPattern = (path: string): boolean => /[*?[{]/.test(path);

/** The paths of a list with commas; those in braces are a pattern's. */
export function listedPaths(named: string): string[] {
  const paths = named.match(/(?:\{[^{}]*\}|[^,])+/g) ?? [];
  return paths.length === 0 ? [named] : paths;
}

/**
 * A list of paths, or a pattern, that was written in the directory `from`, made absolute.
 *
 * @returns undefined of a single path, and where what is named does not lie there
 */
export function listSeenFrom(from: string, named: string): string | undefined {
  const paths = listedPaths(named);
  if (paths.length === 1 && !isPattern(named)) return undefined;
  // It would be taken for more than a path.
  if (isPattern(from) || from.includes(',')) return undefined;
  const lies = paths.every((path) => existsSync(resolve(from, beforePattern(path))));
  return lies ? paths.map((path) => resolve(from, path)).join(',') : undefined;
}

/** The directories of a path before the first that is a pattern. */
function beforePattern(path: string): string {
  const names = path.split('/');
  const first = names.findIndex(isPattern);
  return first < 0 ? path : `${names.slice(0, first).join('/')}${first === 1 ? '/' : ''}`;
}
