import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Refusal } from '../errors/refusal.js';
import { sync } from './durable.js';
import { parseJson, readTextFile } from './json.js';
import { requireStillOwner } from './lock.js';
import { writeAside } from './output-file.js';
import { refusedWrite } from './refused.js';

/** A file that grows as work continues; each append is all or nothing. */
export class GrowingFile {
  private constructor(
    private readonly path: string,
    private readonly file: FileHandle,
    private readonly flag: string,
  ) {}

  /**
   * @param how a: append if it exists; wx: it must not exist
   * @param flag that determines its location, for messages
   */
  static async open(path: string, how: 'a' | 'wx', flag = '--out'): Promise<GrowingFile> {
    const file = await open(path, how).catch((cause) => {
      throw refusedWrite(path, cause);
    });
    return new GrowingFile(path, file, flag);
  }

  /** @throws Refusal if it cannot be written (nothing of the append remains then), or if the file was deleted */
  async append(content: string | Uint8Array): Promise<void> {
    const { size, nlink } = await this.file.stat();
    // Writing would succeed, but into a file that nobody can open any more.
    if (nlink === 0)
      throw new Refusal(`${this.path} was deleted while being written.`, `Check ${this.flag}.`, 'disk/out-deleted');
    await requireStillOwner(dirname(this.path));
    try {
      await this.file.appendFile(content);
    } catch (cause) {
      await this.file.truncate(size).catch(() => {});
      throw refusedWrite(this.path, cause);
    }
  }

  /** Makes appended data survive a power failure. */
  async sync(): Promise<void> {
    await sync(this.file).catch((cause) => {
      throw refusedWrite(this.path, cause);
    });
  }

  close(): Promise<void> {
    return this.file.close();
  }
}

/** Max bytes of a file to continue: it is read into one string, and this is V8's limit. */
const MOST_LINES_TEXT = 2 ** 29 - 24;

/** A growing file of one JSON object per line. A torn last line is dropped when it is reopened. */
export class JsonLines<T> {
  private constructor(
    private readonly file: GrowingFile,
    /** The last line. */
    public last: T | undefined,
  ) {}

  /**
   * Opens the file for appending, creating it if missing.
   *
   * @param keep which of the existing lines to keep
   */
  static async open<T>(path: string, { keep }: { keep: (line: T) => boolean }): Promise<JsonLines<T>> {
    const { kept, text } = await keptOf(path, keep);
    await writeAside(path, text);
    return new JsonLines(await GrowingFile.open(path, 'a'), kept.at(-1));
  }

  append(line: T): Promise<void> {
    return this.appendAll([line]);
  }

  /** Appends several lines: all of them, or none if it throws. */
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

/**
 * Drops lines of a file without opening it for appending, including a torn last one; writes nothing if none is dropped.
 */
export async function trimJsonLines<T>(path: string, keep: (line: T) => boolean): Promise<void> {
  const { found, text } = await keptOf(path, keep);
  if (found !== undefined && found !== text) await writeAside(path, text);
}

/** The lines to keep and their text; `found` is the file's text, undefined if it does not exist. */
async function keptOf<T>(path: string, keep: (line: T) => boolean) {
  const found = await readTextFile(path, 'Remove it, or choose another --out.', MOST_LINES_TEXT);
  const kept = parseJsonLines<T>(found ?? '', path).filter(keep);
  return { found, kept, text: kept.map((line) => `${JSON.stringify(line)}\n`).join('') };
}

/** Parses JSON Lines; a last line without a newline was torn and is ignored. */
function parseJsonLines<T>(text: string, path: string): T[] {
  const lines = text.split('\n').slice(0, -1);
  return lines.map((line, i) => {
    try {
      const value = parseJson(line);
      // `keep` reads keys.
      if (value === null || typeof value !== 'object' || Array.isArray(value)) throw new SyntaxError('no JSON object');
      return value as T;
    } catch (cause) {
      throw new Refusal(`${path}:${i + 1} is not a JSON object.`, 'Fix or delete that line.', 'disk/not-json-lines', {
        cause,
      });
    }
  });
}
