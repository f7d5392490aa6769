import { constants } from 'node:fs';
import { type FileHandle, lstat, open } from 'node:fs/promises';
import { parseJson } from '../disk/json.js';
import { ThinnedCurve } from '../report/thinned-curve.js';
import { type MetricsRecord, metricsLine } from '../sae/training-curve.js';

/** Bytes read at a time. */
const READ_CHUNK = 1 << 18;
/** Max records kept of a curve: twice this. */
const KEPT = 400;
/** Number of lines over which speed is averaged. */
const RECENT = 11;
/** Bytes before the current position that show whether the file is still the same. */
const SEAM = 512;

/** Follows one metrics.jsonl: each update reads what was added since the previous one. */
export class CurveFile {
  curve = new ThinnedCurve(KEPT);
  /** The last lines, in order. */
  recent: MetricsRecord[] = [];
  /** Invalid lines, which are skipped. */
  unreadable = 0;
  /** Last modification of the file (milliseconds since 1970). */
  written = 0;
  private size = -1;
  private inode = -1;
  /** Bytes of complete lines read. */
  private offset = 0;
  private seam = Buffer.alloc(0);

  constructor(readonly path: string) {}

  /**
   * Reads complete lines that were added; a torn last line waits for its rest. A rewritten file (of a resumed or
   * overwritten run) is read from its beginning.
   *
   * @returns whether anything changed
   * @throws the file system's error if the file cannot be read
   */
  async update(): Promise<boolean> {
    const { size, mtimeMs, ino } = await lstat(this.path);
    // File system clocks are coarse: a different file of the same size may have the same time.
    if (size === this.size && mtimeMs === this.written && ino === this.inode) return false;
    // Without following links or waiting for the other end of a pipe.
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
