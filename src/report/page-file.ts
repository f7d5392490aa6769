import { stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { makeDirectory } from '../disk/durable.js';
import { checkNotInputs, readRegular } from '../disk/input-file.js';
import { checkWritable } from '../disk/output-directory.js';
import { writeAside } from '../disk/output-file.js';
import { Refusal } from '../errors/refusal.js';

/**
 * @param inputs files and directories read by the command
 * @param flag flag for the file
 * @throws Refusal if the output file is a directory, is an input, or is not writable
 */
export async function checkOutputFile(
  path: string,
  inputs: readonly (string | undefined)[],
  flag = '--out',
): Promise<void> {
  await checkNotInputs([path], inputs);
  const existing = await stat(path).catch(() => undefined);
  if (existing?.isDirectory())
    throw new Refusal(`${path} is a directory.`, `Give the file to write with ${flag}.`, 'report/out-is-a-directory');
  await checkWritable(existing ? dirname(path) : path);
}

/**
 * Writes the file, creating its directory if needed. An identical file is left alone: a scheduler may repeat a
 * completed command, which has to succeed.
 *
 * @throws Refusal if a different file exists and may not be replaced
 */
export async function writeOutputFile(
  path: string,
  content: string | Uint8Array,
  overwrite: boolean,
  flag = '--out',
): Promise<string> {
  const existing = overwrite ? undefined : await stat(path).catch(() => undefined);
  if (existing) {
    const bytes = Buffer.from(content);
    const comparable = existing.isFile() && existing.size === bytes.length;
    if (comparable && (await readRegular(path, bytes.length))?.equals(bytes)) return path;
    throw new Refusal(
      `${path} exists.`,
      `Choose another ${flag}, or add --overwrite to replace it.`,
      'disk/out-exists',
    );
  }
  await makeDirectory(dirname(path));
  await writeAside(path, content);
  return path;
}
