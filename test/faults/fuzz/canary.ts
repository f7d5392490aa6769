import fs, { existsSync, mkdirSync, realpathSync, writeFileSync } from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { join } from 'node:path';
import type { Canary } from './target.js';

/** Names that paths in mutated files lead to: with endings that readers accept, so that only a check holds them back. */
const NAMES = ['outside.safetensors', 'outside.arrow', 'outside.jsonl', 'outside.json', 'outside'];

/** Files outside the directory of a case. */
export function plantCanary(root: string): Canary {
  const directory = join(root, 'outside');
  const secret = 'CANARY-THAT-NOBODY-READS';
  mkdirSync(directory, { recursive: true });
  for (const name of NAMES) writeFileSync(join(directory, name), `${secret}\n`);
  return { directory, secret };
}

/** Ways to name the canary's files from a case, which lies beside their directory. */
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
 * Watches what this process opens from here on.
 *
 * @returns the paths below `directory` that were opened since the last call, symbolic links resolved
 */
export function watchOpened(directory: string): () => string[] {
  let opened: string[] = [];
  const note = (path: unknown) => {
    const text = path instanceof URL ? path.pathname : String(path);
    if (text.includes('\0') || !existsSync(text)) return;
    const real = realpathSync(text);
    if (real === directory || real.startsWith(`${directory}/`)) opened.push(real);
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
