import { existsSync } from 'node:fs';
import { resolve } from 'node:path';

/** Is this path a glob pattern, with *, ?, [ ] or { }? */
export const isPattern = (path: string): boolean => /[*?[{]/.test(path);

/** Splits a comma-separated list of paths; commas inside braces belong to a pattern. */
export function listedPaths(named: string): string[] {
  const paths = named.match(/(?:\{[^{}]*\}|[^,])+/g) ?? [];
  return paths.length === 0 ? [named] : paths;
}

/**
 * Makes a list of paths, or a pattern, that was relative to the directory `from` absolute.
 *
 * @returns undefined for a single path, or if nothing matches there
 */
export function listSeenFrom(from: string, named: string): string | undefined {
  const paths = listedPaths(named);
  if (paths.length === 1 && !isPattern(named)) return undefined;
  // Its directory contains pattern characters, so the absolute path would be misread.
  if (isPattern(from) || from.includes(',')) return undefined;
  const lies = paths.every((path) => existsSync(resolve(from, beforePattern(path))));
  return lies ? paths.map((path) => resolve(from, path)).join(',') : undefined;
}

/** The leading directories of a path, up to the first that is a pattern. */
function beforePattern(path: string): string {
  const names = path.split('/');
  const first = names.findIndex(isPattern);
  return first < 0 ? path : `${names.slice(0, first).join('/')}${first === 1 ? '/' : ''}`;
}
