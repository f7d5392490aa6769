import type { z } from 'zod';
import { Refusal } from '../config/refusal.js';
import { parseJson } from './parse-json.js';
import { readRegular } from './regular-file.js';

/** Bytes of a text file, at most: a manifest lists 300,000 shards in them. */
const MOST_TEXT = 2 ** 26;

/**
 * Reads a text file; null where there is none. What is not a regular file (a directory, a pipe, a device) is no input:
 * reading it might never end.
 *
 * @param remedy what to do when something else is there
 * @param most bytes, at most
 */
export async function readTextFile(path: string, remedy?: string, most = MOST_TEXT): Promise<string | null> {
  const bytes = await readRegular(path, most, remedy);
  return bytes === null ? null : bytes.toString('utf8');
}

/**
 * Reads a JSON file.
 *
 * @param missing what to say when there is no such file: message and remedy
 * @param remedy what to do when the file is broken
 * @param most bytes, at most
 */
export async function readJsonFile(
  path: string,
  missing: readonly [string, string],
  remedy?: string,
  most?: number,
): Promise<unknown> {
  const text = await readTextFile(path, remedy, most);
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
