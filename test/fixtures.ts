import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import { filesBelow } from './temporary.js';

/** Within what a build deletes: nothing outlives the program that made it. */
const FIXTURES = resolve('dist', 'fixtures');

/**
 * A directory that several test files use, made once per build by the first that asks. Nobody changes it: a test
 * that needs another one takes a copy.
 *
 * @param name of the directory; another content has another name
 * @param make fills an empty directory; where its JSON files name it, they will name the place where it stays
 */
export async function fixture(name: string, make: (directory: string) => Promise<unknown>): Promise<string> {
  const path = join(FIXTURES, name);
  if (existsSync(path)) return path;
  mkdirSync(dirname(path), { recursive: true });
  const own = mkdtempSync(`${path}-`);
  await make(own);
  for (const name of filesBelow(own).keys()) {
    if (!/\.jsonl?$/.test(name)) continue;
    const text = readFileSync(join(own, name), 'utf8');
    if (text.includes(own)) writeFileSync(join(own, name), text.replaceAll(own, path));
  }
  try {
    renameSync(own, path);
  } catch (error) {
    // Another test file was quicker.
    if (!existsSync(path)) throw error;
    rmSync(own, { recursive: true });
  }
  return path;
}
