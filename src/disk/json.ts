import type { z } from 'zod';
import type { RefusalCode } from '../errors/codes.js';
import { Refusal } from '../errors/refusal.js';
import { readRegular } from './input-file.js';

/** Bytes of a text file, at most: a manifest lists 300,000 shards in them. */
const MOST_TEXT = 2 ** 26;

/**
 * Reads a text file; null where there is none. What is not a regular file (a directory, a pipe, a device) is not an input:
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
 * @param missing what to say when there is no such file: message, remedy and code
 * @param remedy what to do when the file is broken
 * @param most bytes, at most
 */
export async function readJsonFile(
  path: string,
  missing: readonly [message: string, remedy: string, code?: RefusalCode],
  remedy?: string,
  most?: number,
): Promise<unknown> {
  const text = await readTextFile(path, remedy, most);
  if (text === null) throw new Refusal(missing[0], missing[1], missing[2] ?? 'disk/no-json');
  try {
    return parseJson(text);
  } catch (cause) {
    throw new Refusal(`${path} is not JSON (${(cause as Error).message}).`, remedy, 'disk/not-json', { cause });
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
  throw new Refusal(`${path}: ${issue.path.join('.') || 'the file'}: ${issue.message}.`, remedy, 'disk/wrong-json');
}

/**
 * What is written: every key is given, undefined where an optional one is left out of the file. A writer that forgets
 * one does not compile.
 */
export type EveryKey<T> = { [K in keyof Required<T>]: T[K] };

export type JsonObject = Record<string, unknown>;

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Deepest nesting of a file that is ours or Hugging Face's is below ten. */
const MOST_LEVELS = 200;

/**
 * Parses JSON that is not nested without end: V8 parses a million levels, and whatever compares, writes or walks the
 * value afterwards would overflow its stack.
 *
 * @throws SyntaxError where it is not JSON, or nested too deeply; its message shows nothing of the text
 */
export function parseJson(text: string): unknown {
  const value = parsedQuietly(text);
  let level = [value];
  for (let depth = 0; level.length > 0; depth++) {
    if (depth > MOST_LEVELS) throw new SyntaxError(`nested more than ${MOST_LEVELS} levels deep`);
    const next: unknown[] = [];
    for (const one of level) {
      if (one === null || typeof one !== 'object') continue;
      for (const inner of Object.values(one)) if (inner !== null && typeof inner === 'object') next.push(inner);
    }
    level = next;
  }
  return value;
}

/** V8 quotes the text, which may be another file than its reader believes: a link to a private key, say. */
function parsedQuietly(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new SyntaxError((error as Error).message.replace(/^(Unexpected token).*$/s, '$1'));
  }
}
