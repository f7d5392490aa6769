import { type FileHandle, open, rename, rm, stat } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { Interrupted, Refusal } from '../config/refusal.js';
import { formatBytes } from '../disk/free-space.js';
import type { StopRequest } from '../progress/progress.js';
import type { StopSignal } from '../progress/stop-signals.js';
import { type HubFile, matches } from './blob-hash.js';
import { claimPart, isOurs, type PartFile, putDown, type Sightings } from './part-file.js';
import { mayPass } from './request.js';
import type { Patience } from './settings.js';

/** Where one file comes from and who watches. */
export interface Source {
  readonly url: string;
  readonly fetch: typeof fetch;
  readonly patience: Patience;
  readonly stop: StopRequest;
  /** Bytes of the file that are there. */
  readonly tell: (bytes: number) => void;
  /** Another process downloads the same file; said once. */
  readonly waiting: () => void;
}

/**
 * Downloads one file to `blob`, which appears whole and proven or not at all. Goes on where an earlier download was cut
 * short; waits for another process that is at it.
 *
 * @throws Refusal when the bytes are wrong or the connection does not hold
 * @throws Interrupted when asked to stop; what is there is kept
 */
export async function fetchBlob(source: Source, file: HubFile, blob: string): Promise<void> {
  const seen: Sightings = new Map();
  for (let said = false; ; ) {
    if (await isThere(blob, file)) return source.tell(file.size);
    const part = await claimPart(blob, seen);
    if (part && (await fillPart(source, file, blob, part))) return;
    if (part) continue;
    if (!said) source.waiting();
    said = true;
    if (source.stop.signal) throw interrupted(source.stop.signal);
    await sleep(source.patience.poll);
  }
}

/** Is the blob in the cache? Blobs are proven before they get their name, so the size is enough. */
export async function isThere(blob: string, file: HubFile): Promise<boolean> {
  return (await stat(blob).catch(() => undefined))?.size === file.size;
}

/**
 * @returns whether the blob is there now; false: begin again, since what an earlier download left was not good, or
 * another process took the part over
 */
async function fillPart(source: Source, file: HubFile, blob: string, part: PartFile): Promise<boolean> {
  const resumed = part.size > 0;
  try {
    const handle = await open(part.path, 'r+').catch(goneIsNull);
    if (handle === null) return false;
    try {
      // A part longer than the file cannot be its beginning.
      if (part.size > file.size) await handle.truncate();
      await receive(source, file, handle, part.size > file.size ? 0 : part.size);
      await handle.sync();
      if (!(await isOurs(part.path, handle))) return false;
    } finally {
      await handle.close();
    }
    if (await matches(part.path, file)) {
      await rename(part.path, blob);
      return true;
    }
  } catch (error) {
    // Taken over while it was hashed.
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return false;
    await putDown(part, blob);
    throw error;
  }
  await rm(part.path, { force: true });
  if (resumed) return false;
  throw new Refusal(
    `${file.name} arrived with another hash than the hub names for it (${file.hash.slice(0, 12)}…), and was not kept.`,
    'Something between here and the hub alters files, or the server is damaged; try again, or another network.',
  );
}

function goneIsNull(error: NodeJS.ErrnoException): null {
  if (error.code === 'ENOENT') return null;
  throw error;
}

/** Writes the rest of the file from byte `start` on, over as many connections as it takes. */
async function receive(source: Source, file: HubFile, handle: FileHandle, start: number): Promise<void> {
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
          // Always at its own position: should two processes ever write one part, they write the same bytes.
          position += (await handle.write(bytes, position - at, at + bytes.length - position, position)).bytesWritten;
        }
        source.tell(position);
        if (stop.signal) break;
      }
    } catch (error) {
      if (!worthRetrying(error)) throw error;
      trouble = error;
    }
    if (stop.signal) throw interrupted(stop.signal);
    if (position >= file.size) break;
    fruitless = position - before >= TRICKLE ? 0 : fruitless + 1;
    if (fruitless === patience.attempts) throw brokeOff(file, position, trouble);
    await sleep(patience.delay * 2 ** fruitless);
  }
}

/** One connection: the bytes it brings, each piece with its place in the file. Ends early where the server does. */
async function* connection(
  source: Source,
  file: HubFile,
  from: number,
): AsyncGenerator<{ at: number; bytes: Uint8Array }> {
  const watch = watchConnection(source);
  try {
    const response = await source.fetch(source.url, {
      // Compressed on the way, a range would count other bytes.
      headers: { 'accept-encoding': 'identity', ...(from > 0 && { range: `bytes=${from}-` }) },
      signal: watch.signal,
    });
    // 200 to a request for a range: this server knows none, and begins at the beginning.
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
    throw otherSize(file, `bytes from ${from} on were asked for, and "${given}" came`);
  }
  return from;
}

/** Fewer bytes than this within the settings' `stall` are as good as none. */
const TRICKLE = 1024;

/** Gives a connection up when it has been as good as silent for too long, or when asked to stop. */
function watchConnection({ patience, stop }: Source) {
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
      // A body that was not read to its end would keep its connection open.
      control.abort();
    },
  };
}

/** What the hub refuses with a reason, or the disk, is not; a connection that breaks is. */
function worthRetrying(error: unknown): boolean {
  return error instanceof Refusal ? mayPass(error) : (error as NodeJS.ErrnoException).syscall === undefined;
}

function brokeOff(file: HubFile, position: number, trouble: unknown): Refusal {
  if (trouble instanceof Refusal && position === 0) return trouble;
  const reason = trouble instanceof Error ? `: ${trouble.message.replace(/\.$/, '')}` : '';
  return new Refusal(
    `The download of ${file.name} breaks off at ${formatBytes(position)} of ${formatBytes(file.size)}${reason}.`,
    'The same command goes on from there.',
    { cause: trouble },
  );
}

function otherSize(file: HubFile, what: string): Refusal {
  return new Refusal(
    `The server's ${file.name} is not the one of ${file.size} bytes that the hub lists: ${what}.`,
    'Try again later; if it stays so, the server is damaged.',
  );
}

function interrupted(signal: StopSignal): Interrupted {
  return new Interrupted(signal, 'what has been downloaded is kept; the same command goes on from there.');
}
