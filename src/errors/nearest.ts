import { readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';

/**
 * Least number of single-character insertions, deletions, substitutions and swaps of neighbours from a to b (optimal
 * string alignment).
 */
export function editDistance(a: string, b: string): number {
  let before: number[] = [];
  let previous = Array.from({ length: b.length + 1 }, (_, j) => j);
  for (let i = 1; i <= a.length; i++) {
    const current = [i];
    for (let j = 1; j <= b.length; j++) {
      const substitution = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      let least = Math.min(substitution, previous[j]! + 1, current[j - 1]! + 1);
      if (i > 1 && j > 1 && a[i - 1] === b[j - 2] && a[i - 2] === b[j - 1]) least = Math.min(least, before[j - 2]! + 1);
      current.push(least);
    }
    before = previous;
    previous = current;
  }
  return previous[b.length]!;
}

/** Longer names are not compared: a file may contain names of any length. */
const LONGEST_COMPARED = 100;

/** Max edits for a name of this many characters to count as a typo; beyond that it is a different word. */
const slips = (length: number) => (length < 3 ? 0 : Math.min(3, Math.floor((length + 1) / 3)));

/**
 * The names that `wanted` is probably a misspelling of, nearest first, at most `count`; none if nothing is close.
 * Ignores case and how words are joined (-, _ or capitals).
 */
export function nearest(wanted: string, names: readonly string[], count = 3): string[] {
  if (wanted.length > LONGEST_COMPARED) return [];
  const plain = plainName(wanted);
  return names
    .map((name) => ({ name, distance: distanceTo(plain, plainName(name)) }))
    .filter(({ distance }) => distance <= slips(plain.length))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, count)
    .map(({ name }) => name);
}

/** `Did you mean x?`, if a name is close enough. */
export function didYouMean(
  wanted: string,
  names: readonly string[],
  label = (name: string) => name,
): string | undefined {
  const [near] = nearest(wanted, names, 1);
  return near === undefined ? undefined : `Did you mean ${label(near)}?`;
}

/** Normalises case and how words are joined: d-sae, d_sae and dSae become one. */
export const plainName = (name: string) => name.toLowerCase().replace(/[-_]/g, '');

/** A prefix (over → overwrite) counts as one edit. */
function distanceTo(wanted: string, name: string): number {
  const distance = editDistance(wanted, name);
  return wanted.length >= 4 && name.startsWith(wanted) ? Math.min(1, distance) : distance;
}

/** Max entries of a directory to compare. */
const MOST_COMPARED = 10_000;

/**
 * The path that a nonexistent one is probably a misspelling of: another entry of its directory, or, if the directory
 * does not exist either, a path below a similarly named one.
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
  const [name] = nearest(basename(path), names.slice(0, MOST_COMPARED), 1);
  return name === undefined || name === basename(path) ? undefined : join(parent, name);
}

/** A remedy, after the question whether another path was meant. */
export const withNear = (near: string | undefined, remedy: string): string =>
  near === undefined ? remedy : `Did you mean ${near}? ${remedy}`;
