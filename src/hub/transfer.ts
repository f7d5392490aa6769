import { createHash, randomBytes } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { type FileHandle, open, readdir, rename, rm, stat } from 'node:fs/promises';
import { hostname } from 'node:os';
import { basename, dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { isRunning, pidNamespace } from '../disk/lock-owner.js';
import { formatBytes } from '../disk/space.js';
import { Interrupted, Refusal, type StopSignal } from '../errors/refusal.js';
import type { StopRequest } from '../progress/progress.js';
import { mayPass, type Patience } from './request.js';

/** Source of a file, and progress callbacks. */
interface BlobSource {
  readonly url: string;
  readonly fetch: typeof fetch;
  readonly patience: Patience;
  readonly stop: StopRequest;
  /** Bytes of the file received so far. */
  readonly tell: (bytes: number) => void;
  /** Called once if another process is downloading the same file. */
  readonly waiting: () => void;
}

/**
 * Downloads one file to `blob`, which appears only when complete and verified. Resumes an earlier interrupted download;
 * waits for another process that is downloading it.
 *
 * @throws Refusal if the bytes are wrong or the connection fails
 * @throws Interrupted when asked to stop; received bytes are kept
 */
export async function fetchBlob(source: BlobSource, file: HubFile, blob: string): Promise<void> {
  const seen: Sightings = new Map();
  for (let said = false; ; ) {
    if (await isThere(blob, file)) return source.tell(file.size);
    const part = await claimPart(blob, seen);
    if (part && (await fillPart(source, file, blob, part))) return;
    if (part) continue;
    if (!said) source.waiting();
    said = true;
    if (source.stop.signal) throw downloadInterrupted(source.stop.signal);
    await sleep(source.patience.poll);
  }
}

/** Is the blob in the cache? Blobs are verified before they get their name, so checking the size is enough. */
export async function isThere(blob: string, file: HubFile): Promise<boolean> {
  return (await stat(blob).catch(() => undefined))?.size === file.size;
}

/**
 * @returns whether the blob is now in place; false: start over, since an earlier download left bad bytes, or another
 * process took over the part
 */
async function fillPart(source: BlobSource, file: HubFile, blob: string, part: PartFile): Promise<boolean> {
  const resumed = part.size > 0;
  try {
    const handle = await open(part.path, 'r+').catch(goneIsNull);
    if (handle === null) return false;
    try {
      // A part longer than the file cannot be its beginning.
      if (part.size > file.size) await handle.truncate();
      await receive(source, file, handle, part.size > file.size ? 0 : part.size);
      await handle.sync();
      if (!(await isOurPart(part.path, handle))) return false;
    } finally {
      await handle.close();
    }
    if (await hasHash(part.path, file)) {
      await rename(part.path, blob);
      return true;
    }
  } catch (error) {
    // Taken over while being hashed.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    await putDown(part, blob);
    throw error;
  }
  await rm(part.path, { force: true });
  if (resumed) return false;
  throw new Refusal(
    `${file.name} does not have the hash listed by the hub (${file.hash.slice(0, 12)}…), and was discarded.`,
    'Something between here and the hub alters files, or the server is damaged; try again, or another network.',
    'hub/wrong-hash',
  );
}

function goneIsNull(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT') return null;
  throw error;
}

/** Downloads the rest of the file from byte `start`, over as many connections as necessary. */
async function receive(source: BlobSource, file: HubFile, handle: FileHandle, start: number): Promise<void> {
  const { patience, stop } = source;
  let position = start;
  source.tell(position);
  let fruitless = 0;
  while (position < file.size) {
    const before = position;
    let trouble: unknown;
    try {
      for await (const { at, bytes } of connection(source, file, position)) {
        position = at;
        while (position < at + bytes.length) {
          // Always at an explicit position: should two processes ever write one part, they write the same bytes.
          position += (await handle.write(bytes, position - at, at + bytes.length - position, position)).bytesWritten;
        }
        source.tell(position);
        if (stop.signal) break;
      }
    } catch (error) {
      if (!worthRetrying(error)) throw error;
      trouble = error;
    }
    if (stop.signal) throw downloadInterrupted(stop.signal);
    if (position >= file.size) break;
    fruitless = position - before >= TRICKLE ? 0 : fruitless + 1;
    if (fruitless === patience.attempts) throw brokeOff(file, position, trouble);
    await sleep(patience.delay * 2 ** fruitless);
  }
}

/** One connection: its bytes in pieces with their offsets. Ends early if the server does. */
async function* connection(
  source: BlobSource,
  file: HubFile,
  from: number,
): AsyncGenerator<{ at: number; bytes: Uint8Array }> {
  const watch = watchConnection(source);
  try {
    const response = await source.fetch(source.url, {
      // With compression, a range would refer to other bytes.
      headers: { 'accept-encoding': 'identity', ...(from > 0 && { range: `bytes=${from}-` }) },
      signal: watch.signal,
    });
    // 200 in reply to a range request: the server does not support ranges, and starts from the beginning.
    let at = response.status === 206 ? rangeStart(response, file, from) : 0;
    for await (const bytes of response.body ?? []) {
      watch.alive(bytes.length);
      if (at + bytes.length > file.size) throw otherSize(file, `more than ${file.size} bytes came`);
      yield { at, bytes };
      at += bytes.length;
    }
  } finally {
    watch.end();
  }
}

function rangeStart(response: Response, file: HubFile, from: number): number {
  const given = response.headers.get('content-range') ?? '';
  const match = /^bytes (\d+)-\d+\/(\d+|\*)$/.exec(given);
  if (Number(match?.[1]) !== from || (match![2] !== '*' && Number(match![2]) !== file.size)) {
    throw otherSize(file, `bytes from ${from} on were requested, but "${given}" came`);
  }
  return from;
}

/** Fewer bytes than this within the settings' `stall` count as none. */
const TRICKLE = 1024;

/** State of one connection. */
interface ConnectionWatch {
  /** Aborted when the connection is abandoned. */
  readonly signal: AbortSignal;
  /** Call when bytes were received or sent. */
  alive(bytes: number): void;
  /** Closes the connection, if still open. */
  end(): void;
}

/** Abandons a connection when it has been nearly silent for too long, or when asked to stop. */
export function watchConnection({ patience, stop }: Pick<BlobSource, 'patience' | 'stop'>): ConnectionWatch {
  const control = new AbortController();
  let last = performance.now();
  let came = 0;
  const timer = setInterval(
    () => {
      if (stop.signal) control.abort(new Error('stopped'));
      else if (performance.now() - last > patience.stall) {
        control.abort(new Error(`next to nothing came for ${patience.stall / 1000} s`));
      }
    },
    Math.min(200, patience.stall / 4),
  );
  return {
    signal: control.signal,
    alive: (bytes: number) => {
      came += bytes;
      if (came < TRICKLE) return;
      came = 0;
      last = performance.now();
    },
    end: () => {
      clearInterval(timer);
      // An unread body would keep its connection open.
      control.abort();
    },
  };
}

/** Broken connections are retried; a refusal of the hub, or a disk error, is not. */
function worthRetrying(error: unknown): boolean {
  return error instanceof Refusal ? mayPass(error) : (error as NodeJS.ErrnoException).syscall === undefined;
}

function brokeOff(file: HubFile, position: number, trouble: unknown): Refusal {
  if (trouble instanceof Refusal && position === 0) return trouble;
  const reason = trouble instanceof Error ? `: ${trouble.message.replace(/\.$/, '')}` : '';
  return new Refusal(
    `The download of ${file.name} was interrupted at ${formatBytes(position)} of ${formatBytes(file.size)}${reason}.`,
    'The same command resumes from there.',
    'hub/download-cut-short',
    { cause: trouble },
  );
}

function otherSize(file: HubFile, what: string): Refusal {
  return new Refusal(
    `The server's ${file.name} is not the one of ${file.size} bytes that the hub lists: ${what}.`,
    'Try again later; if it persists, the server is damaged.',
    'hub/wrong-size',
  );
}

function downloadInterrupted(signal: StopSignal): Interrupted {
  return new Interrupted(signal, 'what has been downloaded is kept; the same command resumes from there.');
}

/**
 * The file that a blob is downloaded into: `<blob>.<begun>-<host>-<pid>-<random>.incomplete`. Every download writes its
 * own file, and its name shows whether anyone is still working on it. Locks would not work: Node has none that the
 * system releases when a process is killed.
 */
interface PartFile {
  readonly path: string;
  /** Bytes already present, from an interrupted download. */
  readonly size: number;
}

interface FoundPart extends PartFile {
  readonly live: boolean;
}

/** A part that has not grown for this long counts as abandoned, whatever its name says (milliseconds). */
const ABANDONED = 5 * 60_000;

/**
 * What a waiting process has observed of other processes' parts: their length, and since when by its own clock. File
 * times are those of a server that may be minutes off, so they are only compared with each other.
 */
export type Sightings = Map<string, { size: number; since: number }>;
/** In place of a process id: released properly. */
const NOBODY = 0;

/** This machine and container: only there is a process id meaningful. */
const OUR_MACHINE = createHash('sha256').update(`${hostname()};${pidNamespace()}`).digest('hex').slice(0, 8);

/**
 * Our own part file for `blob`, starting with what an earlier download left. A live process may be taken for dead (if
 * suspended for long, or on a hanging machine): then two processes write the same bytes to one file, and the one whose
 * part has been taken finds out through `isOurPart` and starts over.
 *
 * @param seen observations of this blob's parts so far
 * @returns null while another process that started earlier is downloading this blob
 */
export async function claimPart(blob: string, seen: Sightings = new Map()): Promise<PartFile | null> {
  const mine = partPath(blob, process.pid);
  const handle = await open(mine, 'wx');
  const { mtimeMs: now } = await handle.stat().finally(() => handle.close());
  const others = (await partFilesOf(blob, now, seen)).filter(({ path }) => path !== mine);
  // Names begin with the time, so two processes starting at once see the same order, and one of them continues.
  if (others.some(({ path, live }) => live && path < mine)) {
    await rm(mine, { force: true });
    return null;
  }
  let size = 0;
  for (const left of others.filter(({ live }) => !live).sort((a, b) => b.size - a.size)) {
    if (size > 0) await rm(left.path, { force: true });
    // Renaming takes it from any competitor, which then finds it missing.
    else if (await renamed(left.path, mine)) size = left.size;
  }
  return { path: mine, size };
}

/** Bytes of a blob left by earlier downloads. */
export async function partBytes(blob: string): Promise<number> {
  return Math.max(0, ...(await partFilesOf(blob, 0, new Map())).map(({ size }) => size));
}

/** Leaves a part for the next process that downloads the blob. */
export async function putDown(part: PartFile, blob: string): Promise<void> {
  await renamed(part.path, partPath(blob, NOBODY));
}

function partPath(blob: string, pid: number): string {
  const begun = Date.now().toString(36).padStart(9, '0');
  return `${blob}.${begun}-${OUR_MACHINE}-${pid}-${randomBytes(3).toString('hex')}.incomplete`;
}

/** Does `path` still refer to the open `file`? Another process may have taken it over. */
export async function isOurPart(path: string, file: FileHandle): Promise<boolean> {
  const [named, held] = await Promise.all([stat(path).catch(() => undefined), file.stat()]);
  return named?.ino === held.ino && named.dev === held.dev;
}

/** @param now time of a newly created file, by the file server's clock */
async function partFilesOf(blob: string, now: number, seen: Sightings): Promise<FoundPart[]> {
  const found: FoundPart[] = [];
  const pattern = /^([0-9a-f]+)\.[0-9a-z]+-([0-9a-f]{8})-(\d+)-[0-9a-f]{6}\.incomplete$/;
  for (const name of await readdir(dirname(blob)).catch((): string[] => [])) {
    const match = pattern.exec(name);
    if (match?.[1] !== basename(blob)) continue;
    const path = join(dirname(blob), name);
    const status = await stat(path).catch(() => undefined);
    if (!status) continue;
    const pid = Number(match[3]);
    const ofHere = match[2] === OUR_MACHINE;
    const growing = hasGrown(path, status.size, seen) && (ofHere || now - status.mtimeMs < ABANDONED);
    found.push({
      path,
      size: status.size,
      live: growing && pid !== NOBODY && (!ofHere || isRunning({ pid, started: '' })),
    });
  }
  return found;
}

/** Has the part grown since it was first seen, or was that recent? */
function hasGrown(path: string, size: number, seen: Sightings): boolean {
  const before = seen.get(path);
  if (before?.size === size) return performance.now() - before.since < ABANDONED;
  seen.set(path, { size, since: performance.now() });
  return true;
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

/** A file as listed by the hub: its hash names the blob and verifies its bytes. */
export interface HubFile {
  readonly name: string;
  /** Bytes. */
  readonly size: number;
  /** SHA-256 of the content (large-file storage, 64 digits) or git's SHA-1 of the blob (40 digits). */
  readonly hash: string;
}

/** Are the bytes at `path` those of `file`? Reads the whole file. */
async function hasHash(path: string, { hash, size }: HubFile): Promise<boolean> {
  // git hashes a blob with its kind and length prepended.
  const digest = hash.length === 64 ? createHash('sha256') : createHash('sha1').update(`blob ${size}\0`);
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) digest.update(chunk as Buffer);
  return digest.digest('hex') === hash;
}
