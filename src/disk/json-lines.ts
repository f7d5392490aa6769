import { type FileHandle, open } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Refusal } from '../config/refusal.js';
import { requireStillOwner } from './held-locks.js';
import { readTextFile } from './json-file.js';
import { parseJson } from './parse-json.js';
import { refusedWrite } from './refused-write.js';
import { sync } from './sync.js';
import { writeAside } from './write-aside.js';

/** Bytes of a file that is continued, at most: it is one string for a moment, and V8 has none longer. */
const MOST_TEXT = 2 ** 29 - 24;

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
  async append(line: T): Promise<void> {
    this.last = line;
    const { size, nlink } = await this.file.stat();
    // Writing to it would succeed, and nobody would ever read it.
    if (nlink === 0) throw new Refusal(`${this.path} was deleted while it was written.`, 'Check --out.');
    await requireStillOwner(dirname(this.path));
    try {
      await this.file.appendFile(`${JSON.stringify(line)}\n`);
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
  const found = await readTextFile(path, 'Remove it, or choose another --out.', MOST_TEXT);
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
      throw new Refusal(`${path}:${i + 1} is not a JSON object.`, 'Mend or remove the line.', { cause });
    }
  });
}
