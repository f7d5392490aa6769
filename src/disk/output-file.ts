import { randomBytes } from 'node:crypto';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { openDirectory, sync } from './durable.js';
import { requireStillOwner } from './lock.js';
import { refusedWrite, Unconfirmed } from './refused.js';

/** Bytes that a file's name may have on every file system in use. */
const LONGEST_NAME = 255;
const SUFFIX = /\.[0-9a-f]{16}\.tmp$/;

/**
 * A name next to `path` that nobody else has: two processes that write one file each write their own, and nobody can
 * have put a link there.
 */
function asideOf(path: string): string {
  const suffix = `.${randomBytes(8).toString('hex')}.tmp`;
  const name = basename(path);
  return join(dirname(path), Buffer.byteLength(name + suffix) <= LONGEST_NAME ? name + suffix : suffix);
}

/** The name of the file that was being written aside as `name`; undefined where it is not such a name. */
export function writtenAside(name: string): string | undefined {
  // Before names were random, `.tmp` alone.
  return name.endsWith('.tmp') ? name.replace(SUFFIX, '').replace(/\.tmp$/, '') : undefined;
}

/**
 * Writes a file so that it is either absent or whole: under a random name next to it first (`<name>.<random>.tmp`),
 * synced, then renamed, then the directory synced. A crash leaves at most the .tmp file, which no reader opens and the
 * owner of the directory removes.
 *
 * @throws Refusal when the disk is full or the place cannot be written; nothing has changed then
 * @throws Unconfirmed when the file is there, whole, and its directory cannot be synced
 */
export async function writeAside(
  path: string,
  content: Uint8Array | string | ((file: FileHandle) => Promise<void>),
): Promise<void> {
  const aside = asideOf(path);
  let directory: FileHandle | undefined;
  try {
    directory = await openDirectory(dirname(path));
    await writeNew(aside, content);
    await requireStillOwner(dirname(path));
    await rename(aside, path);
  } catch (cause) {
    await directory?.close().catch(() => {});
    await rm(aside, { force: true }).catch(() => {});
    throw refusedWrite(path, cause);
  }
  // From here on the file is there: nothing may undo it.
  try {
    if (directory) await sync(directory);
  } catch (cause) {
    throw new Unconfirmed(path, cause);
  } finally {
    await directory?.close().catch(() => {});
  }
}

/** Bytes that are written in one call, at most. */
const MOST_WRITTEN = 2 ** 28;

/**
 * Writes all bytes in a few calls. Node's writeFile makes one of each half a megabyte, and each waits for the thread that
 * asked, which may be at work.
 */
export async function writeBytes(file: FileHandle, bytes: Uint8Array): Promise<void> {
  for (let done = 0; done < bytes.length; ) {
    const { bytesWritten } = await file.write(bytes, done, Math.min(bytes.length - done, MOST_WRITTEN));
    done += bytesWritten;
  }
}

async function writeNew(path: string, content: Parameters<typeof writeAside>[1]): Promise<void> {
  // x: it must not exist, not even as a link.
  const file = await open(path, 'wx');
  try {
    if (typeof content === 'function') await content(file);
    else await file.writeFile(content);
    await sync(file);
  } finally {
    await file.close();
  }
}
