import type { z } from 'zod';
import type { RefusalCode } from '../errors/codes.js';
import { Refusal } from '../errors/refusal.js';
import { readRegular } from './input-file.js';

/** Max bytes of a text file: a manifest of 300,000 shards fits. */
const MOST_TEXT = 2 ** 26;

/**
 * Reads a text file; null if it does not exist. Refuses anything but a regular file: reading a pipe or a device might
 * never end.
 *
 * @param remedy what to do if something else is there
 * @param most max bytes
 */
export async function readTextFile(path: string, remedy?: string, most = MOST_TEXT): Promise<string | null> {
  const bytes = await readRegular(path, most, remedy);
  return bytes === null ? null : bytes.toString('utf8');
}

/**
 * Reads a JSON file.
 *
 * @param missing message, remedy and code for a missing file
 * @param remedy what to do if the file is damaged
 * @param most max bytes
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
 * Validates `json` and fills in defaults.
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
 * Type for writing a file: every key must be given, undefined for an omitted optional one, so forgetting a key does not
 * compile.
 */
export type EveryKey<T> = { [K in keyof Required<T>]: T[K] };

export type JsonObject = Record<string, unknown>;

export function isJsonObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** Our own and Hugging Face's files nest fewer than ten levels. */
const MOST_LEVELS = 200;

/**
 * Parses JSON of bounded nesting: V8 parses a million levels, and whatever compares, writes or walks the value
 * afterwards would overflow its stack.
 *
 * @throws SyntaxError if it is not JSON or nested too deeply; its message quotes nothing of the text
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

/** V8's message quotes the text, which may be an unexpected file: a link to a private key, say. */
function parsedQuietly(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new SyntaxError((error as Error).message.replace(/^(Unexpected token).*$/s, '$1'));
  }
}
