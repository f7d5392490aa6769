import { readdir, rm, stat, truncate } from 'node:fs/promises';
import { join, relative, resolve } from 'node:path';
import { makeDirectory } from '../disk/durable.js';
import { GrowingFile } from '../disk/growing-file.js';
import { checkWritable } from '../disk/output-directory.js';
import { refusedWrite } from '../disk/refused.js';
import { Refusal, UsageRefusal } from '../errors/refusal.js';
import { type EventPoint, readEvent, sessionEvent, summaryEvent, versionEvent } from './event.js';
import { framed, recordsOfFile } from './record-file.js';

/** The writer: training and evaluation points may share a directory, in separate files. */
export type EventKind = 'train' | 'eval';

/** TensorBoard recognises files by `tfevents` in their names, and reads them in alphabetical order. */
const OURS = /^events\.out\.tfevents\.(\d{10})\.sae-pipe\.(train|eval)\.(\d+)$/;

/** Is this a file name of an event log? */
export const isEventFile = (name: string): boolean => OURS.test(name);

/** Names of the event files of one kind, in order. */
async function eventFiles(directory: string, kind: EventKind): Promise<string[]> {
  const names = await readdir(directory).catch((): string[] => []);
  return names.filter((name) => OURS.exec(name)?.[2] === kind).sort();
}

/**
 * Refuses a --log-dir that is not writable, or where it would hide another result's directory.
 *
 * @param out of the command
 */
export async function checkLogDirectory(logDir: string, out: string): Promise<void> {
  const below = relative(resolve(out), resolve(logDir));
  if (below !== '' && !below.startsWith('..')) {
    throw new UsageRefusal(
      `--log-dir ${logDir} lies inside --out ${out}.`,
      `Give --log-dir ${out}, or a directory elsewhere.`,
      'tensorboard/log-dir-in-out',
    );
  }
  await checkWritable(logDir);
}

/** Identifies a run's event files: the relative path to its --out, so that both may be moved together. */
const ownerOf = (logDir: string, out: string) => relative(resolve(logDir), resolve(out)) || '.';

/**
 * Refuses event files of another run, or of this one if it starts anew without --overwrite. Changes nothing.
 *
 * @param kept may the run's own files stay or be replaced?
 */
export async function checkEventFiles(logDir: string, kind: EventKind, out: string, kept: boolean): Promise<void> {
  const [first] = await eventFiles(logDir, kind);
  if (first === undefined) return;
  const owner = await noteOf(join(logDir, first));
  if (kept && (owner === undefined || owner === ownerOf(logDir, out))) return;
  throw new Refusal(
    `${logDir} has event files of ${kept ? `another run (--out ${join(logDir, owner!)})` : 'a run'}: ${first}.`,
    `Give each run its own --log-dir${kept ? '' : ', or add --overwrite'}.`,
    'tensorboard/log-dir-taken',
  );
}

async function noteOf(path: string): Promise<string | undefined> {
  for await (const { data } of recordsOfFile(path)) {
    const note = readEvent(data)?.note;
    if (note !== undefined) return note;
  }
  return undefined;
}

/** Removes the event files of one kind. */
export async function removeEventFiles(logDir: string, kind: EventKind): Promise<void> {
  for (const name of await eventFiles(logDir, kind)) await rm(join(logDir, name), { force: true });
}

/**
 * Points for TensorBoard, written as they come, one step at a time. A resumed run truncates its earlier files after the
 * step it resumes from and begins a new one, so no point occurs twice; a running TensorBoard is told to drop later
 * steps.
 */
export class EventLog {
  private constructor(
    private readonly file: GrowingFile,
    /** The last step with points; −1 if there are none. */
    readonly last: number,
  ) {}

  /**
   * Opens a log to continue it after `steps` steps; the caller owns the directory and has checked it.
   *
   * @param out the run's own directory
   */
  static async open(logDir: string, kind: EventKind, out: string, steps: number): Promise<EventLog> {
    await makeDirectory(logDir);
    const names = await eventFiles(logDir, kind);
    let last = -1;
    for (const name of names) last = Math.max(last, await keepSteps(join(logDir, name), steps));
    const file = await GrowingFile.open(join(logDir, nextName(names.at(-1), kind)), 'wx', '--log-dir');
    try {
      await file.append(framed(versionEvent()));
      // Not for an evaluation: it would make a reader drop the points of training.
      if (kind === 'train') await file.append(framed(sessionEvent(last < 0 ? 0 : steps + 1, ownerOf(logDir, out))));
      return new EventLog(file, last);
    } catch (error) {
      await file.close();
      throw error;
    }
  }

  /** @throws Refusal if the points cannot be written (none of them remains then), or the file was deleted */
  append(step: number, points: readonly EventPoint[]): Promise<void> {
    return this.file.append(framed(summaryEvent(step, points)));
  }

  sync(): Promise<void> {
    return this.file.sync();
  }

  close(): Promise<void> {
    return this.file.close();
  }
}

/** Sorts after the previous file, whatever the clock says. */
function nextName(before: string | undefined, kind: EventKind): string {
  const [, seconds, , number] = OURS.exec(before ?? '') ?? [];
  const now = Math.max(Math.floor(Date.now() / 1000), Number(seconds ?? 0) + 1);
  return `events.out.tfevents.${String(now).padStart(10, '0')}.sae-pipe.${kind}.${Number(number ?? -1) + 1}`;
}

/**
 * Truncates a file before its first event of a later step, including a torn end. A file without points is removed.
 *
 * @returns the last step with remaining points; −1 if none
 */
async function keepSteps(path: string, steps: number): Promise<number> {
  let end = 0;
  let last = -1;
  for await (const record of recordsOfFile(path)) {
    const event = readEvent(record.data);
    if (!event || event.step > steps) break;
    // A file starts with two events that are not points.
    if (event.note === undefined && end > 0) last = event.step;
    end = record.end;
  }
  try {
    if (last < 0) await rm(path, { force: true });
    else if ((await stat(path)).size > end) await truncate(path, end);
  } catch (cause) {
    throw refusedWrite(path, cause);
  }
  return last;
}
