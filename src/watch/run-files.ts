import { constants } from 'node:fs';
import { type FileHandle, lstat, open } from 'node:fs/promises';
import { parseJson } from '../disk/json.js';
import { ThinnedCurve } from '../report/thinned-curve.js';
import { type MetricsRecord, metricsLine } from '../sae/training-curve.js';

/** Bytes read at a time. */
const READ_CHUNK = 1 << 18;
/** Most records kept of a curve: twice this. */
const KEPT = 400;
/** Lines between which speed is averaged. */
const RECENT = 11;
/** Bytes before the place reached that tell whether the file is still the one that was read. */
const SEAM = 512;

/** Follows one metrics.jsonl: each update reads what was added since the one before. */
export class CurveFile {
  curve = new ThinnedCurve(KEPT);
  /** The last lines, in order. */
  recent: MetricsRecord[] = [];
  /** Lines that are not what training writes; they are left out. */
  unreadable = 0;
  /** When the file was last written (milliseconds since 1970). */
  written = 0;
  private size = -1;
  private inode = -1;
  /** Bytes of whole lines read. */
  private offset = 0;
  private seam = Buffer.alloc(0);

  constructor(readonly path: string) {}

  /**
   * Takes in whole lines that were added; a torn last line waits for its rest. A file that was written anew (a run that
   * was resumed, or overwritten) is read from its beginning.
   *
   * @returns whether anything changed
   * @throws what the file system says, where the file cannot be read
   */
  async update(): Promise<boolean> {
    const { size, mtimeMs, ino } = await lstat(this.path);
    // Clocks of file systems tick slowly: another file of the same size may bear the same time.
    if (size === this.size && mtimeMs === this.written && ino === this.inode) return false;
    // Whatever bears the name: no link is followed, and opening a pipe does not wait for its other end.
    const file = await open(this.path, constants.O_RDONLY | constants.O_NOFOLLOW | constants.O_NONBLOCK);
    try {
      if (!(await file.stat()).isFile()) return false;
      if (!(await this.isSame(file))) this.restart();
      await this.readOn(file);
    } finally {
      await file.close();
    }
    [this.size, this.written, this.inode] = [size, mtimeMs, ino];
    return true;
  }

  private async isSame(file: FileHandle): Promise<boolean> {
    const before = await bytesAt(file, this.offset - this.seam.length, this.seam.length);
    return before.equals(this.seam);
  }

  private restart(): void {
    this.curve = new ThinnedCurve(KEPT);
    this.recent = [];
    this.unreadable = 0;
    this.offset = 0;
    this.seam = Buffer.alloc(0);
  }

  private async readOn(file: FileHandle): Promise<void> {
    for (;;) {
      const bytes = await bytesAt(file, this.offset, READ_CHUNK);
      // A line longer than a chunk is not one of ours: it is skipped in pieces.
      const end = bytes.lastIndexOf(0x0a) + 1 || (bytes.length === READ_CHUNK ? READ_CHUNK : 0);
      if (end === 0) return;
      const lines = bytes.subarray(0, end);
      for (const line of lines.toString('utf8').split('\n')) if (line.trim() !== '') this.take(line);
      // A copy: a view would keep the whole chunk in memory.
      this.seam = Buffer.from(Buffer.concat([this.seam, lines]).subarray(-SEAM));
      this.offset += end;
    }
  }

  private take(line: string): void {
    const parsed = metricsLine.safeParse(parsedOrNull(line));
    if (!parsed.success) {
      this.unreadable++;
      return;
    }
    this.curve.add(parsed.data);
    this.recent = [...this.recent.filter(({ tokens }) => tokens < parsed.data.tokens), parsed.data].slice(-RECENT);
  }
}

/** Up to `length` bytes of a file from `position`. */
async function bytesAt(file: FileHandle, position: number, length: number): Promise<Buffer> {
  const buffer = Buffer.alloc(length);
  let read = 0;
  while (read < length) {
    const { bytesRead } = await file.read(buffer, read, length - read, position + read);
    if (bytesRead === 0) break;
    read += bytesRead;
  }
  return buffer.subarray(0, read);
}

function parsedOrNull(text: string): unknown {
  try {
    return parseJson(text);
  } catch {
    return null;
  }
}
