import { resolve, sep } from 'node:path';

/** How an SAE is called in a folder, and the directory there that holds its features. */
export interface SaeName {
  readonly name: string;
  readonly folder: string;
}

/** Characters of a directory's name, at most. */
const LONGEST = 120;

/**
 * Names of SAEs by their directories: as many parts of the path as it takes to tell them apart, the last one at least.
 * Directories are called the same in the letters, digits and `. _ -` that every file system and URL takes.
 */
export function saeNames(paths: readonly string[]): SaeName[] {
  const parts = paths.map((path) => resolve(path).split(sep).filter(Boolean));
  const nameOf = (i: number, length: number) => parts[i]!.slice(-length).join('/');
  const taken = new Set<string>();
  return parts.map((_, i) => {
    let length = 1;
    while (length < parts[i]!.length && parts.some((__, j) => j !== i && nameOf(j, length) === nameOf(i, length))) {
      length++;
    }
    const name = nameOf(i, length) || 'sae';
    const plain = name
      .replaceAll('/', '-')
      .replaceAll(/[^A-Za-z0-9._-]/g, '_')
      .replace(/^\.+/, (dots) => '_'.repeat(dots.length))
      .slice(-LONGEST);
    let folder = plain;
    // Where file systems see no difference between a and A, neither do we.
    for (let n = 2; taken.has(folder.toLowerCase()); n++) folder = `${plain}-${n}`;
    taken.add(folder.toLowerCase());
    return { name, folder };
  });
}
