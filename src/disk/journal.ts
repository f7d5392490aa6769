import { createHash } from 'node:crypto';
import { GrowingFile } from './growing-file.js';
import { parseJson, readTextFile } from './json.js';
import { writeAside } from './output-file.js';

/** Bytes of a journal that are read, at most. */
const MOST_BYTES = 2 ** 26;

/** A value as a line: the SHA-256 of its JSON, and that. */
const lineOf = (json: string) => `${sha256(json)} ${json}\n`;

const sha256 = (text: string) => createHash('sha256').update(text).digest('hex');

/**
 * Appends a value to a journal. Whatever happens afterwards, `readJournal` finds it once this has resolved.
 *
 * @param begun is the file there? Otherwise it is made, and nothing that was there before stays
 * @returns bytes appended
 * @throws Refusal where it cannot be written; what is there already stays
 */
export async function appendToJournal(path: string, value: object, begun: boolean): Promise<number> {
  const line = lineOf(JSON.stringify(value));
  if (!begun) await writeAside(path, line);
  else {
    const file = await GrowingFile.open(path, 'a');
    try {
      await file.append(line);
      await file.sync();
    } finally {
      await file.close();
    }
  }
  return Buffer.byteLength(line);
}

/**
 * The values in a journal, in their order; null where there is none. A kill or a power failure may leave a last line that
 * is cut off, or is not what was written: it was never confirmed, and is left out.
 *
 * @param remedy what to do where something else has its name
 */
export async function readJournal(path: string, remedy: string): Promise<unknown[] | null> {
  const text = await readTextFile(path, remedy, MOST_BYTES);
  if (text === null) return null;
  const values: unknown[] = [];
  for (const line of text.split('\n').slice(0, -1)) {
    const value = valueIn(line);
    if (value === undefined) break;
    values.push(value);
  }
  return values;
}

function valueIn(line: string): unknown {
  const json = line.slice(65);
  if (`${line}\n` !== lineOf(json)) return undefined;
  try {
    return parseJson(json);
  } catch {
    return undefined;
  }
}
