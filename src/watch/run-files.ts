import { constants } from 'node:fs';
import { type FileHandle, lstat, open } from 'node:fs/promises';
import { join } from 'node:path';
import { recordName } from '../config/flags.js';
import { LARGEST_RUN_FILE, RUN_FILE } from '../config/run-file.js';
import { parseJson, readTextFile } from '../disk/json.js';
import { ThinnedCurve } from '../report/thinned-curve.js';
import { architectureFlags } from '../sae/registry.js';
import { CFG_FILE } from '../sae/saelens.js';
import { type MetricsRecord, metricsLine } from '../sae/training-curve.js';
import { runMetadata, type TrainingRecord } from '../sae/training-record.js';

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

/** The flags of single architectures that a record holds, by their keys in it; undefined without any. */
function ownOf(record: TrainingRecord | undefined): RunSettings['own'] {
  const keys = Object.keys(architectureFlags).map(recordName);
  const said = keys.flatMap((key) => (record?.[key] === undefined ? [] : [[key, record[key]]]));
  return said.length > 0 ? Object.fromEntries(said) : undefined;
}

/** What is known of a run; each of it may be missing. */
export interface RunSettings {
  /** Its SAE is saved. */
  readonly finished: boolean;
  readonly model?: string;
  readonly hook?: string;
  readonly architecture?: string;
  readonly dSae?: number;
  readonly l1?: number;
  /** Steps of the whole run. */
  readonly steps?: number;
  /** Its architecture's flags, by their keys in cfg.json; they and --train make families (report/family-styles.ts). */
  readonly own?: Readonly<Record<string, unknown>>;
  readonly train?: readonly string[];
}

/** Follows what a run says of itself: run.json until it is finished, and while it is trained further; else cfg.json. */
export class SettingsFile {
  settings: RunSettings = { finished: false };
  private seen = '';

  constructor(private readonly directory: string) {}

  /** @returns whether anything changed */
  async update(): Promise<boolean> {
    const found = [await this.look(CFG_FILE), await this.look(RUN_FILE)].filter((file) => file !== undefined);
    const seen = found.map(({ name, written, size }) => `${name} ${written} ${size}`).join(' ');
    if (seen === this.seen) return false;
    this.seen = seen;
    const [first, second] = await Promise.all(found.map(({ name }) => this.read(name)));
    const finished = found[0]?.name === CFG_FILE;
    // A run.json next to cfg.json that asks for more steps: the SAE is being trained further.
    const further = second?.steps !== undefined && first?.steps !== undefined && second.steps > first.steps;
    this.settings = further ? { finished: false, ...second } : { finished, ...first };
    return true;
  }

  private async look(name: string): Promise<{ name: string; written: number; size: number } | undefined> {
    const stat = await lstat(join(this.directory, name)).catch(() => undefined);
    return stat?.isFile() && stat.size <= LARGEST_RUN_FILE
      ? { name, written: stat.mtimeMs, size: stat.size }
      : undefined;
  }

  private async read(name: string): Promise<Omit<RunSettings, 'finished'>> {
    const json = await readTextFile(join(this.directory, name), undefined, LARGEST_RUN_FILE)
      .then((text) => parseJson(text ?? 'null') as { metadata?: unknown } | null)
      .catch(() => undefined);
    const parsed = runMetadata.safeParse(name === CFG_FILE ? json?.metadata : json);
    if (!parsed.success) return {};
    const { model_name: model, hook_name: hook, sae_pipe } = parsed.data;
    return {
      model: model ?? undefined,
      hook: hook ?? undefined,
      architecture: sae_pipe?.arch,
      dSae: sae_pipe?.d_sae,
      // Where λ is adjusted, it is no longer what it began with.
      l1: sae_pipe?.l0 === undefined ? (sae_pipe?.l1 ?? undefined) : undefined,
      steps: sae_pipe?.steps,
      own: ownOf(sae_pipe),
      train: sae_pipe?.train ?? undefined,
    };
  }
}
