import { Refusal } from '../../errors/refusal.js';
import type { ParameterName, Sae } from '../sae.js';
import type { SaeMetadata } from '../saelens.js';

/** The files of one SAE by their role in the layout: paths relative to its location, with `/` separators. */
export type SaeFileNames = Readonly<Record<string, string>>;

/** Where to look for an SAE: below a local directory, or in a hub repository. */
export interface SaePlace {
  /** Directory or file, relative to the root; '' is the root itself. */
  readonly path: string;
  /** Does a file with this path, relative to the root, exist? */
  has(path: string): Promise<boolean>;
}

/** An SAE described by its layout; only headers and configurations have been read. */
export interface DescribedSae extends Omit<Sae, 'parameters'> {
  readonly metadata: SaeMetadata;
  /** Reads the values of each parameter of its architecture, float32, row-major, in the shape of `parameterShape`. */
  readonly values: Partial<Record<ParameterName, () => Promise<Float32Array>>>;
}

/** Input of a layout. */
export interface LayoutInput {
  /** Local paths, by role. */
  readonly files: SaeFileNames;
  /**
   * Repository and path, or local path: publishers encode layer, model and hook in names. Resolved, with `/`
   * separators.
   */
  readonly name: string;
  /** √d_in divided by the mean norm of the activations, if given in a table of releases. */
  readonly scale?: number;
}

/** A layout in which SAEs are published. */
export interface Layout {
  readonly name: string;
  /** Publisher, for docs and lists. */
  readonly publisher: string;
  /** The files of the SAE at a location; undefined if it is not in this layout. */
  find(place: SaePlace): Promise<SaeFileNames | undefined>;
  /**
   * Reads configuration and headers.
   *
   * @returns null if the directory already is in our layout
   * @throws Refusal if files are damaged or contradict each other, or the SAE cannot be represented exactly
   */
  read(input: LayoutInput): Promise<DescribedSae | null>;
}

/** @throws Refusal: it cannot be represented exactly */
export function unsupported(name: string, what: string, remedy: string): never {
  throw new Refusal(`${name}: ${what}.`, remedy, 'sae/unsupported-layout');
}

/** Last component of a path. */
export const baseName = (path: string): string => path.slice(path.lastIndexOf('/') + 1);

/** All but the last component of a path. */
export const folderOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('/')));

export const joined = (...parts: readonly string[]): string => parts.filter((part) => part !== '').join('/');

/** The directory of a location, which may itself be the directory, or the file `main` in it. */
const directoryOf = (path: string, main: string): string => (baseName(path) === main ? folderOf(path) : path);

/**
 * Finds files with fixed names.
 *
 * @param main the file that identifies the layout; the location may be this file
 * @param needed other required files, by role
 * @param optional files used if present
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
