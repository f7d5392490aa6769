import { linkSync, mkdirSync, readdirSync, readFileSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { Refusal } from '../../../src/errors/refusal.js';
import { Generator } from '../../../src/random/generator.js';
import { pathsOutside } from './canary.js';
import type { Canary, Files, Target } from './target.js';

/** What a case ended in: `same` is the result of the whole files, `other` one that passed the target's checks. */
export type Ending = 'refused' | 'same' | 'other' | 'fault' | 'outside' | 'memory' | 'hang' | 'crash';

export interface Outcome {
  readonly index: number;
  readonly ending: Ending;
  /** The refusal, or what went wrong. */
  readonly says: string;
}

export const GOOD: readonly Ending[] = ['refused', 'same', 'other'];

/** The intact files below a directory. */
export function readFiles(directory: string): Files {
  const files: Files = new Map();
  const walk = (path: string) => {
    for (const name of readdirSync(path).sort()) {
      const child = join(path, name);
      if (statSync(child).isDirectory()) walk(child);
      else files.set(relative(directory, child), readFileSync(child));
    }
  };
  walk(directory);
  return files;
}

/** Case `index` of a target: a function of (seed, target, index) alone. */
export function generatorOf(seed: number, target: Target, index: number): Generator {
  return new Generator(seed, ...Buffer.from(target.name), index);
}

/** Writes the files of a case; those that were not changed are hard links to the intact ones. */
export function writeCase(
  intact: string,
  whole: Files,
  directory: string,
  target: Target,
  random: Generator,
  canary: Canary,
): void {
  const files: Files = new Map(whole);
  target.mutate(files, random, pathsOutside(canary));
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  for (const [name, content] of files) {
    const path = join(directory, name);
    mkdirSync(dirname(path), { recursive: true });
    if (!Buffer.isBuffer(content)) symlinkSync(content.link, path);
    else if (content === whole.get(name)) linkSync(join(intact, name), path);
    else writeFileSync(path, content);
  }
}

/** Reads a case, and says what it ended in but for what only the outside sees. */
export async function judge(
  target: Target,
  directory: string,
  random: Generator,
  whole: string,
): Promise<Pick<Outcome, 'ending' | 'says'>> {
  try {
    const result = await target.read(directory, random);
    return { ending: result === whole ? 'same' : 'other', says: '' };
  } catch (error) {
    if (!(error instanceof Refusal)) return { ending: 'fault', says: stackOf(error) };
    const wrong = faultOfRefusal(error);
    const says = `${error.message} ${error.remedy ?? ''}`;
    return wrong ? { ending: 'fault', says: `${wrong}: ${says}` } : { ending: 'refused', says };
  }
}

export function stackOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

/** What is wrong with a refusal: it is one line of cause, naming a thing, and one of remedy. */
function faultOfRefusal({ message, remedy }: Refusal): string | undefined {
  if (/\p{Cc}|\u2028|\u2029/u.test(message + (remedy ?? ''))) return 'control characters in a refusal';
  if (message.length > 3000) return 'a refusal of more than 3000 characters';
  if (!remedy) return 'a refusal without a remedy';
  return undefined;
}
