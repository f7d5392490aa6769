import type { Generator } from '../../../src/random/generator.js';

/** The files of a case, by their paths in its directory: bytes, or where a symbolic link leads. */
export type Files = Map<string, Buffer | { readonly link: string }>;

/** What lies outside the case's directory and must not be read; every file in it holds `secret`. */
export interface Canary {
  readonly directory: string;
  readonly secret: string;
}

/** Something that sae-pipe reads. */
export interface Target {
  readonly name: string;
  /** URL of the module that exports it, by itself or in a list: a child loads no other. */
  readonly module: string;
  /** Cases of it, in proportion to those of the others. */
  readonly share: number;
  /** Writes the whole files that are mutated, once. */
  prepare(directory: string): Promise<void>;
  /** Changes some of the files. */
  mutate(files: Files, random: Generator, elsewhere: readonly string[]): void;
  /**
   * Reads a case's files as the program does and checks what comes of it.
   *
   * @returns the result as a text, the same for whole files as for files that say the same
   * @throws Refusal where the program refuses them; anything else is a failure
   */
  read(directory: string, random: Generator): Promise<string>;
  /** The same on the command line; `stdin` names a file for standard input. */
  command?(directory: string, out: string): { args: string[]; stdin?: string };
  /** Growth of resident memory in a case, at most (MiB); by default MOST_MEMORY. */
  readonly memory?: number;
  /** Processor time of a case, at most; by default MOST_TIME. */
  readonly time?: number;
}

/** Growth of resident memory in a case, at most (MiB): the files are of less than one. */
export const MOST_MEMORY = 512;
/** Processor time of a case, at most (milliseconds). */
export const MOST_TIME = 10_000;

/** The bytes of a file of the case. */
export function bytesOf(files: Files, name: string): Buffer {
  const found = files.get(name);
  if (!Buffer.isBuffer(found)) throw new Error(`no file ${name}`);
  return found;
}
