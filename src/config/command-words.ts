import type { z } from 'zod';
import { flagsOf } from './flags.js';

/** A command as it was given: paths in it are seen from the directory that it was given in. */
export interface GivenCommand {
  /** Absolute. */
  directory: string;
  /** What followed the command's name, but --out and --overwrite. */
  words: string[];
}

/** Flags that say where a result goes, not what it is: equal results are equal files, wherever they lie. */
const NOT_REPEATED = ['out', 'overwrite', 'resume'];

/**
 * The flags that give a stage this configuration, wherever its values came from: the command line, a file, or another
 * stage. Those that have their default are
 * left out, and so is --out.
 */
export function commandWords(schema: z.ZodObject, config: Readonly<Record<string, unknown>>): string[] {
  return flagsOf(schema).flatMap(({ key, name, default: usual }) => {
    const value = config[key];
    if (value === undefined || value === null || value === usual || value === false || NOT_REPEATED.includes(key))
      return [];
    if (value === true) return [`--${name}`];
    return [value]
      .flat()
      .map(String)
      .flatMap((one) => (one.startsWith('-') ? [`--${name}=${one}`] : [`--${name}`, one]));
  });
}
