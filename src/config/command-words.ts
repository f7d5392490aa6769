import type { z } from 'zod';
import { flagsOf } from './flags.js';

/** A command as it was given: paths in it are seen from the directory that it was given in. */
export interface GivenCommand {
  /** Absolute. */
  directory: string;
  /** What followed the command's name, but --out and --overwrite. */
  words: string[];
}

/** The command that made an SAE, whole; where it is one SAE's, the SAE is its --out. */
export interface TrainingCommand extends GivenCommand {
  stage: 'train' | 'sweep';
}

/** Flags that say where a result goes, not what it is: equal results are equal files, wherever they lie. */
const NOT_REPEATED = ['out', 'overwrite', 'resume', 'takeOver'];

/**
 * The flags that give a stage this configuration, wherever its values came from: the command line, a file, or another
 * stage. Those that have their default are left out, and so is --out.
 */
export function commandWords(schema: z.ZodObject, config: Readonly<Record<string, unknown>>): string[] {
  return flagsOf(schema).flatMap(({ key, name, default: usual }) => {
    const value = config[key];
    if (value === undefined || value === null || value === usual || NOT_REPEATED.includes(key)) return [];
    if (value === false) return [`--no-${name}`];
    if (value === true) return [`--${name}`];
    return [value]
      .flat()
      .map(String)
      .flatMap((one) => (one.startsWith('-') ? [`--${name}=${one}`] : [`--${name}`, one]));
  });
}

/** Is this path one that another shell finds too? Standard input and a shell's own pipes are not. */
export function isLasting(path: string): boolean {
  return path !== '-' && !/^\/(dev|proc)\//.test(path);
}
