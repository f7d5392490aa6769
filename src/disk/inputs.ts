import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { UsageRefusal } from '../config/refusal.js';

/**
 * Makes sure that a command does not replace what it reads, whatever the names: through links and hard links too, a
 * file is told by its number.
 *
 * @param outputs files that would be replaced or deleted; those that do not exist are no danger
 * @param inputs files, and directories with all that lies below them; undefined or missing: not read from disk
 * @throws UsageRefusal naming output and input
 */
export async function checkNotInputs(
  outputs: readonly string[],
  inputs: readonly (string | undefined)[],
): Promise<void> {
  const replaced = new Map<string, string>();
  for (const path of outputs) {
    const found = await stat(path, { bigint: true }).catch(() => undefined);
    if (found?.isFile()) replaced.set(`${found.dev}:${found.ino}`, path);
  }
  if (replaced.size === 0) return;
  const seen = new Set<string>();
  const look = async (path: string) => {
    const found = await stat(path, { bigint: true }).catch(() => undefined);
    if (!found) return;
    const key = `${found.dev}:${found.ino}`;
    const output = replaced.get(key);
    if (output !== undefined) throw isInput(output, path);
    if (!found.isDirectory() || seen.has(key)) return;
    seen.add(key);
    for (const name of await readdir(path).catch((): string[] => [])) await look(join(path, name));
  };
  for (const input of inputs) if (input !== undefined) await look(input);
}

function isInput(output: string, input: string): UsageRefusal {
  const same = output === input ? 'an input of this command' : `the same file as ${input}, an input of this command`;
  return new UsageRefusal(`${output} would be replaced, and it is ${same}.`, 'Choose another --out.');
}
