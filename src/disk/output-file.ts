import { randomBytes } from 'node:crypto';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { Refusal } from '../errors/refusal.js';
import { openDirectory, sync } from './durable.js';
import { parseJson, readTextFile } from './json.js';
import { requireStillOwner } from './lock.js';
import { refusedWrite, Unconfirmed } from './refused.js';

/** Bytes that a file's name may have on every file system in use. */
const LONGEST_NAME = 255;
const SUFFIX = /\.[0-9a-f]{16}\.tmp$/;

/**
 * A name next to `path` that nobody else has: two processes that write one file each write their own, and nobody can
 * have put a link there.
 */
function asideOf(path: string): string {
  const suffix = `.${randomBytes(8).toString('hex')}.tmp`;
  const name = basename(path);
  return join(dirname(path), Buffer.byteLength(name + suffix) <= LONGEST_NAME ? name + suffix : suffix);
}

/** The name of the file that was being written aside as `name`; undefined where it is not such a name. */
export function writtenAside(name: string): string | undefined {
  // Before names were random, `.tmp` alone.
  return name.endsWith('.tmp') ? name.replace(SUFFIX, '').replace(/\.tmp$/, '') : undefined;
}

/**
 * Writes a file so that it is either absent or whole: under a random name next to it first (`<name>.<random>.tmp`),
 * synced, then renamed, then the directory synced. A crash leaves at most the .tmp file, which no reader opens and the
 * owner of the directory removes.
 *
 * @throws Refusal when the disk is full or the place cannot be written; nothing has changed then
 * @throws Unconfirmed when the file is there, whole, and its directory cannot be synced
 */
export async function writeAside(
  path: string,
  content: Uint8Array | string | ((file: FileHandle) => Promise<void>),
): Promise<void> {
  const aside = asideOf(path);
  let directory: FileHandle | undefined;
  try {
    directory = await openDirectory(dirname(path));
    await writeNew(aside, content);
    await requireStillOwner(dirname(path));
    await rename(aside, path);
  } catch (cause) {
    await directory?.close().catch(() => {});
    await rm(aside, { force: true }).catch(() => {});
    throw refusedWrite(path, cause);
  }
  // From here on the file is there: nothing may undo it.
  try {
    if (directory) await sync(directory);
  } catch (cause) {
    throw new Unconfirmed(path, cause);
  } finally {
    await directory?.close().catch(() => {});
  }
}

async function writeNew(path: string, content: Parameters<typeof writeAside>[1]): Promise<void> {
  // x: it must not exist, not even as a link.
  const file = await open(path, 'wx');
  try {
    if (typeof content === 'function') await content(file);
    else await file.writeFile(content);
    await sync(file);
  } finally {
    await file.close();
  }
}

/** Bytes of a file that is continued, at most: it is one string for a moment, and V8 has none longer. */
const MOST_LINES_TEXT = 2 ** 29 - 24;

/** A file of one JSON object a line that grows while work goes on. A torn last line is dropped when it is reopened. */
export class JsonLines<T> {
  private constructor(
    private readonly path: string,
    private readonly file: FileHandle,
    /** The newest line. */
    public last: T | undefined,
  ) {}

  /**
   * Opens the file for appending, creating it where it is missing.
   *
   * @param keep which of the lines there stay
   */
  static async open<T>(path: string, { keep }: { keep: (line: T) => boolean }): Promise<JsonLines<T>> {
    const { kept, text } = await keptOf(path, keep);
    await writeAside(path, text);
    const file = await open(path, 'a').catch((cause) => {
      throw refusedWrite(path, cause);
    });
    return new JsonLines(path, file, kept.at(-1));
  }

  /** @throws Refusal where the line cannot be written, of which nothing stays then, or the file was deleted */
  append(line: T): Promise<void> {
    return this.appendAll([line]);
  }

  /** Appends several lines: all of them, or where it throws, none. */
  async appendAll(lines: readonly T[]): Promise<void> {
    this.last = lines.at(-1) ?? this.last;
    const { size, nlink } = await this.file.stat();
    // Writing to it would succeed, and nobody would ever read it.
    if (nlink === 0)
      throw new Refusal(`${this.path} was deleted while it was written.`, 'Check --out.', 'disk/out-deleted');
    await requireStillOwner(dirname(this.path));
    try {
      await this.file.appendFile(lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
    } catch (cause) {
      await this.file.truncate(size).catch(() => {});
      throw refusedWrite(this.path, cause);
    }
  }

  /** Makes the lines so far survive a power failure. */
  async sync(): Promise<void> {
    await sync(this.file).catch((cause) => {
      throw refusedWrite(this.path, cause);
    });
  }

  close(): Promise<void> {
    return this.file.close();
  }
}

/** Drops lines of a file that stays closed, a torn last one included; writes nothing where none is dropped. */
export async function trimJsonLines<T>(path: string, keep: (line: T) => boolean): Promise<void> {
  const { found, text } = await keptOf(path, keep);
  if (found !== undefined && found !== text) await writeAside(path, text);
}

/** Which lines of a file stay, and their text; `found` is the file's, undefined where there is none. */
async function keptOf<T>(path: string, keep: (line: T) => boolean) {
  const found = await readTextFile(path, 'Remove it, or choose another --out.', MOST_LINES_TEXT);
  const kept = parseJsonLines<T>(found ?? '', path).filter(keep);
  return { found, kept, text: kept.map((line) => `${JSON.stringify(line)}\n`).join('') };
}

/** The objects of a JSON-lines text; a last line without its newline was torn and is left out. */
function parseJsonLines<T>(text: string, path: string): T[] {
  const lines = text.split('\n').slice(0, -1);
  return lines.map((line, i) => {
    try {
      const value = parseJson(line);
      // What is kept is decided by keys.
      if (value === null || typeof value !== 'object' || Array.isArray(value)) throw new SyntaxError('no JSON object');
      return value as T;
    } catch (cause) {
      throw new Refusal(`${path}:${i + 1} is not a JSON object.`, 'Mend or remove the line.', 'disk/not-json-lines', {
        cause,
      });
    }
  });
}
