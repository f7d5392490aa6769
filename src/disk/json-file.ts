import { readFile, stat } from 'node:fs/promises';
import type { z } from 'zod';
import { Refusal } from '../config/refusal.js';
import { checkInside } from './inside.js';
import { parseJson } from './parse-json.js';

/**
 * Reads a text file; null where there is none. What is not a file (a directory, a pipe, a device) is no input: reading
 * it might never end.
 *
 * @param remedy what to do when something else is there
 */
export async function readTextFile(path: string, remedy?: string): Promise<string | null> {
  try {
    await checkInside(path);
    if (!(await stat(path)).isFile()) throw new Refusal(`${path} is not a file.`, remedy);
    return await readFile(path, 'utf8');
  } catch (cause) {
    if (cause instanceof Refusal) throw cause;
    const { code } = cause as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return null;
    throw new Refusal(`${path} could not be read (${code}).`, 'Check its permissions.', { cause });
  }
}

/**
 * Reads a JSON file.
 *
 * @param missing what to say when there is no such file: message and remedy
 * @param remedy what to do when the file is broken
 */
export async function readJsonFile(
  path: string,
  missing: readonly [string, string],
  remedy?: string,
): Promise<unknown> {
  const text = await readTextFile(path, remedy);
  if (text === null) throw new Refusal(...missing);
  try {
    return parseJson(text);
  } catch (cause) {
    throw new Refusal(`${path} is not JSON (${(cause as Error).message}).`, remedy, { cause });
  }
}

/**
 * The value as the schema has it, defaults filled in.
 *
 * @throws Refusal naming the file and the first key that is wrong
 */
export function checkJson<S extends z.ZodType>(schema: S, json: unknown, path: string, remedy?: string): z.infer<S> {
  const parsed = schema.safeParse(json);
  if (parsed.success) return parsed.data;
  const issue = parsed.error.issues[0]!;
  throw new Refusal(`${path}: ${issue.path.join('.') || 'the file'}: ${issue.message}.`, remedy);
}
