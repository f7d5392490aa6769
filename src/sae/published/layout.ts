import { Refusal } from '../../errors/refusal.js';
import type { ParameterName, Sae } from '../sae.js';
import type { SaeMetadata } from '../saelens.js';

/** The files of one SAE by what they are to its layout: paths relative to the place they lie in, `/` between parts. */
export type SaeFileNames = Readonly<Record<string, string>>;

/** Where an SAE is looked for: below a directory of this machine, or in a repository of the hub. */
export interface SaePlace {
  /** Directory or file, relative to the root; '' is the root itself. */
  readonly path: string;
  /** Is there a file of this path, relative to the root? */
  has(path: string): Promise<boolean>;
}

/** An SAE that a layout has described; nothing but headers and configurations has been read. */
export interface DescribedSae extends Omit<Sae, 'parameters'> {
  readonly metadata: SaeMetadata;
  /** Values of each parameter of its architecture, float32, row-major, as `parameterShape` has them. */
  readonly values: Partial<Record<ParameterName, () => Promise<Float32Array>>>;
}

/** What a layout reads. */
export interface LayoutInput {
  /** Paths on disk, by what they are. */
  readonly files: SaeFileNames;
  /**
   * Repository and path, or the path on disk: publishers put layer, model and hook into names. Resolved, `/` between
   * parts.
   */
  readonly name: string;
  /** √d_in over the mean norm of the activations, where a table of releases gives it. */
  readonly scale?: number;
}

/** One way in which SAEs are published. */
export interface Layout {
  readonly name: string;
  /** For docs and lists: whose it is. */
  readonly publisher: string;
  /** The files of the SAE at a place; undefined where what lies there is not of this layout. */
  find(place: SaePlace): Promise<SaeFileNames | undefined>;
  /**
   * Reads configuration and headers.
   *
   * @returns null where the directory is one of ours as it lies there
   * @throws Refusal where files are damaged or contradict one another, or have no exact form here
   */
  read(input: LayoutInput): Promise<DescribedSae | null>;
}

/** @throws Refusal: there is no exact form here */
export function unsupported(name: string, what: string, remedy: string): never {
  throw new Refusal(`${name}: ${what}.`, remedy, 'sae/unsupported-layout');
}

/** Last part of a path. */
export const baseName = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

/** All but the last part of a path. */
export const folderOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('/')));

export const joined = (...parts: readonly string[]): string => parts.filter((part) => part !== '').join('/');

/** The directory of a place, be it one or the file `main` in one. */
const directoryOf = (path: string, main: string): string => (baseName(path) === main ? folderOf(path) : path);

/**
 * Finds files of fixed names.
 *
 * @param main the one that says which layout it is; the place may be this file
 * @param needed others, by what they are
 * @param optional taken where they are there
 */
export async function filesNamed(
  place: SaePlace,
  main: readonly [role: string, name: string],
  needed: SaeFileNames = {},
  optional: SaeFileNames = {},
): Promise<SaeFileNames | undefined> {
  const directory = directoryOf(place.path, main[1]);
  const found: Record<string, string> = {};
  for (const [role, name] of [main, ...Object.entries(needed)]) {
    const path = joined(directory, name);
    if (!(await place.has(path))) return undefined;
    found[role] = path;
  }
  for (const [role, name] of Object.entries(optional)) {
    const path = name.startsWith('../') ? joined(folderOf(directory), name.slice(3)) : joined(directory, name);
    if (await place.has(path)) found[role] = path;
  }
  return found;
}
