import { randomBytes } from 'node:crypto';
import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { openDirectory, sync } from './durable.js';
import { requireStillOwner } from './lock.js';
import { refusedWrite, Unconfirmed } from './refused.js';

/** Max bytes of a file name on every common file system. */
const LONGEST_NAME = 255;
const SUFFIX = /\.[0-9a-f]{16}\.tmp$/;

/**
 * A unique name next to `path`: two processes writing the same file use different ones, and nobody can have planted a
 * link there.
 */
function asideOf(path: string): string {
  const suffix = `.${randomBytes(8).toString('hex')}.tmp`;
  const name = basename(path);
  return join(dirname(path), Buffer.byteLength(name + suffix) <= LONGEST_NAME ? name + suffix : suffix);
}

/** The final name of a temporary file; undefined if `name` is not a temporary name. */
export function writtenAside(name: string): string | undefined {
  // Before names were random, just `.tmp`.
  return name.endsWith('.tmp') ? name.replace(SUFFIX, '').replace(/\.tmp$/, '') : undefined;
}

/**
 * Writes a file atomically: to a random name next to it (`<name>.<random>.tmp`), synced, renamed, directory synced. A
 * crash leaves at most the .tmp file, which no reader opens and the directory's owner removes.
 *
 * @throws Refusal if the disk is full or the location not writable; nothing has changed then
 * @throws Unconfirmed if the file is complete in place, but its directory could not be synced
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
  // From here on the file is in place: nothing may undo it.
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
 * Writes all bytes in a few calls. Node's writeFile makes one per half a megabyte, and each waits for the calling
 * thread, which may be busy.
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
