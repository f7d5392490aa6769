import { createReadStream } from 'node:fs';
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { Refusal } from '../config/refusal.js';
import { formatBytes } from '../disk/free-space.js';
import { readParquetDocuments } from './parquet.js';

/** One text of the corpus. */
export interface Document {
  /** The text in order, in pieces: a long document never exists whole. Read before the next document is asked for. */
  readonly pieces: Iterable<string> | AsyncIterable<string>;
  /** File and place in it, for messages. */
  readonly source: string;
}

/** Longest document: a small .gz file may unpack to any length. */
const LONGEST = 2 ** 28;

/** File endings that hold documents. */
const ENDINGS = ['.jsonl', '.jsonl.gz', '.txt', '.txt.gz', '.parquet'];

/**
 * The files of a corpus: the file itself, or a directory's files with a known ending, sorted by name.
 *
 * @throws Refusal when there is nothing to read, or something that is not a file
 */
export async function corpusFiles(path: string): Promise<string[]> {
  const found = await stat(path).catch((cause) => {
    throw new Refusal(
      `There is no corpus at ${path}.`,
      'Give a .jsonl, .txt or .parquet file, or a directory of them.',
      { cause },
    );
  });
  if (!found.isDirectory()) {
    if (ENDINGS.some((ending) => path.endsWith(ending))) {
      await checkFile(path);
      return [path];
    }
    throw new Refusal(
      `${path} does not end in one of ${ENDINGS.join(', ')}.`,
      'The ending tells how a corpus is read.',
    );
  }
  const names = (await readdir(path)).filter((name) => ENDINGS.some((ending) => name.endsWith(ending))).sort();
  if (names.length === 0)
    throw new Refusal(
      `${path} holds no file ending in ${ENDINGS.join(', ')}.`,
      'The ending tells how a corpus is read.',
    );
  const files = names.map((name) => join(path, name));
  for (const file of files) await checkFile(file);
  return files;
}

/** A corpus is read more than once, and reading a pipe or a device might never end. */
async function checkFile(path: string): Promise<void> {
  const isFile = await stat(path).then(
    (found) => found.isFile(),
    () => false,
  );
  if (!isFile) throw new Refusal(`${path} is not a file.`, 'Give files; write what comes from a pipe to one.');
}

/**
 * Documents of a corpus in file order: one a line of .jsonl, one a row of .parquet, one a .txt file.
 *
 * @param textField the column or JSON key that holds the text
 * @param longest bytes of a .txt file, characters of a line of .jsonl, at most
 * @throws Refusal naming file and line of a broken document
 */
export async function* readDocuments(path: string, textField: string, longest = LONGEST): AsyncGenerator<Document> {
  for (const file of await corpusFiles(path)) {
    if (file.endsWith('.parquet')) yield* readParquetDocuments(file, textField);
    else if (/\.jsonl(\.gz)?$/.test(file)) yield* readJsonLines(file, textField, longest);
    else yield { pieces: [await readText(file, longest)], source: file };
  }
}

async function* readJsonLines(file: string, textField: string, longest: number): AsyncGenerator<Document> {
  let number = 0;
  for await (const line of linesOf(file, longest)) {
    number++;
    if (line.trim() === '') continue;
    const source = `${file}:${number}`;
    let value: unknown;
    try {
      value = JSON.parse(line);
    } catch (cause) {
      throw new Refusal(`${source} is not JSON.`, 'A .jsonl corpus has one JSON object a line.', { cause });
    }
    const text = (value as Record<string, unknown> | null)?.[textField];
    if (typeof text !== 'string') {
      const keys = value !== null && typeof value === 'object' ? Object.keys(value).slice(0, 20).join(', ') : 'no keys';
      throw new Refusal(
        `${source} has no text in "${textField}" (it has: ${keys}).`,
        'Name the key with --text-field.',
      );
    }
    yield { pieces: [text], source };
  }
}

/**
 * Lines of a UTF-8 text file, ended by LF or CR LF, without a byte order mark. (Node's readline also ends lines at
 * U+2028, which JSON strings may hold.)
 */
async function* linesOf(file: string, longest: number): AsyncGenerator<string> {
  const stream = textStream(file);
  let number = 1;
  let length = 0;
  const decoder = new TextDecoder();
  // Pieces of the line under way: a line of 100 MB comes in thousands, and must not be searched anew with each.
  let pieces: string[] = [];
  const line = (last: string) => {
    const whole = pieces.join('') + last;
    pieces = [];
    length = 0;
    number++;
    return whole.endsWith('\r') ? whole.slice(0, -1) : whole;
  };
  try {
    for await (const chunk of stream) {
      const parts = decoder.decode(chunk as Buffer, { stream: true }).split('\n');
      for (const part of parts.slice(0, -1)) yield line(part);
      pieces.push(parts.at(-1)!);
      length += parts.at(-1)!.length;
      if (length > longest) throw tooLong(`${file}:${number}`, longest);
    }
    const rest = line(decoder.decode());
    if (rest !== '') yield rest;
  } catch (cause) {
    throw cause instanceof Refusal ? cause : brokenStream(file, cause);
  } finally {
    // Who stops reading early does not care how the file ends.
    stream.on('error', () => {});
    stream.destroy();
  }
}

async function readText(file: string, longest: number): Promise<string> {
  const parts: Buffer[] = [];
  let length = 0;
  try {
    for await (const part of textStream(file)) {
      parts.push(part as Buffer);
      length += (part as Buffer).length;
      if (length > longest) throw tooLong(file, longest);
    }
  } catch (cause) {
    throw cause instanceof Refusal ? cause : brokenStream(file, cause);
  }
  return new TextDecoder().decode(Buffer.concat(parts));
}

function textStream(file: string): Readable {
  const raw = createReadStream(file);
  if (!file.endsWith('.gz')) return raw;
  const unzipped = createGunzip();
  // pipeline hands an error of either stream to the reader of `unzipped`.
  pipeline(raw, unzipped).catch((error) => unzipped.destroy(error));
  return unzipped;
}

function tooLong(source: string, longest: number): Refusal {
  return new Refusal(`${source} is a document of more than ${formatBytes(longest)}.`, 'Split it into several.');
}

function brokenStream(file: string, cause: unknown): Refusal {
  const reason = cause instanceof Error ? cause.message : String(cause);
  return new Refusal(`${file} could not be read to its end: ${reason}.`, 'Fetch or pack the file again.', { cause });
}
