import { createHash, randomBytes } from 'node:crypto';
import { readlinkSync } from 'node:fs';
import { type FileHandle, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';

/**
 * The file that a blob is downloaded into: `<blob>.<begun>-<host>-<pid>-<random>.incomplete`. Every download writes a
 * file of its own, so no two processes share one, and its name says whether anyone still works on it; locks would not
 * do, because Node has none that the system drops when a process is killed.
 */
export interface PartFile {
  readonly path: string;
  /** Bytes there already, from a download that was cut short. */
  readonly size: number;
}

interface Found extends PartFile {
  readonly live: boolean;
}

/** A part that has not grown for so long counts as given up, whatever its name says, milliseconds. */
const ABANDONED = 5 * 60_000;

/**
 * What one waiting process has seen of others' parts: their length, and since when on its own clock. File times are
 * those of a server that may be minutes off, so they are compared with one another only.
 */
export type Sightings = Map<string, { size: number; since: number }>;
/** In place of a process id: put down in good order. */
const NOBODY = 0;

/** This machine and this container: only there does a process id mean anything. */
const HERE = createHash('sha256').update(`${hostname()};${pidNamespace()}`).digest('hex').slice(0, 8);

function pidNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return '';
  }
}

/**
 * A part file of our own for `blob`, begun with what an earlier download left. Who is alive may be misjudged (a process
 * that was stopped for long, one on a machine that hangs): then two processes write the same bytes to one file, and the
 * one whose part has gone finds out by `isOurs` and begins anew.
 *
 * @param seen of this blob's parts so far
 * @returns null while another process downloads this blob, and began before us
 */
export async function claimPart(blob: string, seen: Sightings = new Map()): Promise<PartFile | null> {
  const mine = partPath(blob, process.pid);
  const handle = await open(mine, 'wx');
  const { mtimeMs: now } = await handle.stat().finally(() => handle.close());
  const others = (await partsOf(blob, now, seen)).filter(({ path }) => path !== mine);
  // Names begin with the time, so of two that begin at once both see the same order, and one goes on.
  if (others.some(({ path, live }) => live && path < mine)) {
    await rm(mine, { force: true });
    return null;
  }
  let size = 0;
  for (const left of others.filter(({ live }) => !live).sort((a, b) => b.size - a.size)) {
    if (size > 0) await rm(left.path, { force: true });
    // Renaming takes it from whoever else wants it; the loser finds it gone.
    else if (await renamed(left.path, mine)) size = left.size;
  }
  return { path: mine, size };
}

/** Bytes of a blob that earlier downloads left. */
export async function partBytes(blob: string): Promise<number> {
  return Math.max(0, ...(await partsOf(blob, 0, new Map())).map(({ size }) => size));
}

/** Leaves a part for whoever downloads the blob next. */
export async function putDown(part: PartFile, blob: string): Promise<void> {
  await renamed(part.path, partPath(blob, NOBODY));
}

function partPath(blob: string, pid: number): string {
  const begun = Date.now().toString(36).padStart(9, '0');
  return `${blob}.${begun}-${HERE}-${pid}-${randomBytes(3).toString('hex')}.incomplete`;
}

/** Is `file`, opened as `path`, still there under that name? Another process may have taken it over. */
export async function isOurs(path: string, file: FileHandle): Promise<boolean> {
  const [named, held] = await Promise.all([stat(path).catch(() => undefined), file.stat()]);
  return named?.ino === held.ino && named.dev === held.dev;
}

/** @param now time of a file made just now, by the clock of the files' server */
async function partsOf(blob: string, now: number, seen: Sightings): Promise<Found[]> {
  const found: Found[] = [];
  const pattern = /^([0-9a-f]+)\.[0-9a-z]+-([0-9a-f]{8})-(\d+)-[0-9a-f]{6}\.incomplete$/;
  for (const name of await readdir(dirname(blob)).catch((): string[] => [])) {
    const match = pattern.exec(name);
    if (match?.[1] !== basename(blob)) continue;
    const path = join(dirname(blob), name);
    const status = await stat(path).catch(() => undefined);
    if (!status) continue;
    const pid = Number(match[3]);
    const ofHere = match[2] === HERE;
    const growing = hasGrown(path, status.size, seen) && (ofHere || now - status.mtimeMs < ABANDONED);
    found.push({ path, size: status.size, live: growing && pid !== NOBODY && (!ofHere || isRunning(pid)) });
  }
  return found;
}

/** Has the part grown since it was seen first, or was that not long ago? */
function hasGrown(path: string, size: number, seen: Sightings): boolean {
  const before = seen.get(path);
  if (before?.size === size) return performance.now() - before.since < ABANDONED;
  seen.set(path, { size, since: performance.now() });
  return true;
}

function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}

async function renamed(from: string, to: string): Promise<boolean> {
  return rename(from, to).then(
    () => true,
    (error: NodeJS.ErrnoException) => {
      if (error.code === 'ENOENT') return false;
      throw error;
    },
  );
}
