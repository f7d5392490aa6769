import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Refusal } from '../errors/refusal.js';
import { sync } from './durable.js';
import { parseJson, readTextFile } from './json.js';
import { requireStillOwner } from './lock.js';
import { writeAside } from './output-file.js';
import { refusedWrite } from './refused.js';

/** A file that grows while work continues: what is appended is there whole, or not at all. */
export class GrowingFile {
  private constructor(
    private readonly path: string,
    private readonly file: FileHandle,
    private readonly flag: string,
  ) {}

  /**
   * @param how a: continue it where it is there; wx: it must not exist
   * @param flag that says where it lies, for messages
   */
  static async open(path: string, how: 'a' | 'wx', flag = '--out'): Promise<GrowingFile> {
    const file = await open(path, how).catch((cause) => {
      throw refusedWrite(path, cause);
    });
    return new GrowingFile(path, file, flag);
  }

  /** @throws Refusal where it cannot be written, of which nothing stays then, or the file was deleted */
  async append(content: string | Uint8Array): Promise<void> {
    const { size, nlink } = await this.file.stat();
    // Writing to it would succeed, and nobody would ever read it.
    if (nlink === 0)
      throw new Refusal(`${this.path} was deleted while it was written.`, `Check ${this.flag}.`, 'disk/out-deleted');
    await requireStillOwner(dirname(this.path));
    try {
      await this.file.appendFile(content);
    } catch (cause) {
      await this.file.truncate(size).catch(() => {});
      throw refusedWrite(this.path, cause);
    }
  }

  /** Makes what was appended survive a power failure. */
  async sync(): Promise<void> {
    await sync(this.file).catch((cause) => {
      throw refusedWrite(this.path, cause);
    });
  }

  close(): Promise<void> {
    return this.file.close();
  }
}

/** Bytes of a file that is continued, at most: it is one string for a moment, and V8 has none longer. */
const MOST_LINES_TEXT = 2 ** 29 - 24;

/** A growing file of one JSON object per line. A torn last line is dropped when it is reopened. */
export class JsonLines<T> {
  private constructor(
    private readonly file: GrowingFile,
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
    return new JsonLines(await GrowingFile.open(path, 'a'), kept.at(-1));
  }

  append(line: T): Promise<void> {
    return this.appendAll([line]);
  }

  /** Appends several lines: all of them, or where it throws, none. */
  appendAll(lines: readonly T[]): Promise<void> {
    this.last = lines.at(-1) ?? this.last;
    return this.file.append(lines.map((line) => `${JSON.stringify(line)}\n`).join(''));
  }

  sync(): Promise<void> {
    return this.file.sync();
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
      throw new Refusal(`${path}:${i + 1} is not a JSON object.`, 'Fix or delete that line.', 'disk/not-json-lines', {
        cause,
      });
    }
  });
}
