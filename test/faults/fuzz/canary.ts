import { execFileSync } from 'node:child_process';
import fs, { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { dirname, join, resolve } from 'node:path';
import type { Generator } from '../../../src/random/generator.js';
import { pick } from './chance.js';
import type { Canary } from './target.js';

/** Names that paths in mutated files lead to: with endings that readers accept, so that only a check holds them back. */
const NAMES = ['outside.safetensors', 'outside.arrow', 'outside.jsonl', 'outside.json', 'outside'];

const PIPE = 'pipe';

/** Files outside the directory of a case. */
export function plantCanary(root: string): Canary {
  const directory = join(root, 'outside');
  const secret = 'CANARY-THAT-NOBODY-READS';
  mkdirSync(directory, { recursive: true });
  for (const name of NAMES) writeFileSync(join(directory, name), `${secret}\n`);
  execFileSync('mkfifo', [join(directory, PIPE)]);
  return { directory, secret };
}

/** Ways to name the canary's files from a case, which is next to their directory. */
export function pathsOutside({ directory }: Canary): string[] {
  return NAMES.flatMap((name) => [
    join(directory, name),
    `../outside/${name}`,
    `../../outside/${name}`,
    `a/../../outside/${name}`,
    `..\\outside\\${name}`,
    `${name}\0.arrow`,
    `file://${directory}/${name}`,
  ]);
}

/** A symbolic link out of the case's directory, which is followed: to a file, a pipe, a device. */
export function linkOut(random: Generator, elsewhere: readonly string[]): { link: string } {
  const pipe = join(dirname(elsewhere[0]!), PIPE);
  return { link: pick(random, [...elsewhere.slice(0, 4), pipe, '/dev/zero', '/dev/tty']) };
}

/** Calls of node:fs that read what is at a path. */
const READERS = [
  'open',
  'openSync',
  'readFile',
  'readFileSync',
  'createReadStream',
  'copyFile',
  'copyFileSync',
] as const;

/**
 * Watches what this process opens from here on by its path. What a link of the case leads to does not count: it was put
 * there by whoever made the directory; a path that comes out of a file does.
 *
 * @returns the paths below `directory` that were opened since the last call
 */
export function watchOpened(directory: string): () => string[] {
  let opened: string[] = [];
  const note = (named: unknown) => {
    const text = named instanceof URL ? named.pathname : String(named);
    if (text.includes('\0') || !existsSync(text)) return;
    const path = resolve(text);
    if (path === directory || path.startsWith(`${directory}/`)) opened.push(path);
  };
  for (const holder of [fs, fs.promises] as unknown as Record<string, (...args: unknown[]) => unknown>[]) {
    for (const name of READERS) {
      const original = holder[name];
      if (!original) continue;
      holder[name] = (...args: unknown[]) => {
        note(args[0]);
        return original(...args);
      };
    }
  }
  syncBuiltinESMExports();
  return () => {
    const seen = opened;
    opened = [];
    return seen;
  };
}
