import { resolve, sep } from 'node:path';

/** The name of an SAE in a folder, and the directory of its features there. */
export interface SaeName {
  readonly name: string;
  readonly folder: string;
}

/** Max characters of a directory name. */
const LONGEST = 120;

/**
 * Names SAEs after their directories, with as many trailing path components as needed to distinguish them, at least
 * one. Directory names use only the letters, digits and `. _ -` that every file system and URL accepts.
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
    // Some file systems do not distinguish a from A.
    for (let n = 2; taken.has(folder.toLowerCase()); n++) folder = `${plain}-${n}`;
    taken.add(folder.toLowerCase());
    return { name, folder };
  });
}
