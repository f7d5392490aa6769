import { type FileHandle, open, rename, rm } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Refusal } from '../config/refusal.js';

/**
 * Writes a file so that it is either absent or whole: to `<path>.tmp` first, synced, then renamed, then the directory
 * synced. A crash leaves at most the .tmp file, which no reader looks at and the next writer replaces.
 *
 * @throws Refusal when the disk is full or the place cannot be written
 */
export async function writeAside(
  path: string,
  content: Uint8Array | string | ((file: FileHandle) => Promise<void>),
): Promise<void> {
  const aside = `${path}.tmp`;
  try {
    const file = await open(aside, 'w');
    try {
      if (typeof content === 'function') await content(file);
      else await file.writeFile(content);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(aside, path);
    await syncDirectory(dirname(path));
  } catch (cause) {
    await rm(aside, { force: true }).catch(() => {});
    throw refusedWrite(path, cause);
  }
}

/** A rename is on disk only once its directory is. */
async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, 'r');
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

const AGAIN = 'give the same command again (harvest and train: with --resume)';

/** The sentence for a failed write; errors that are not the file system's pass through. */
export function refusedWrite(path: string, cause: unknown): unknown {
  const { code, syscall } = (cause ?? {}) as NodeJS.ErrnoException;
  switch (code) {
    case 'ENOSPC':
    case 'EDQUOT':
      return new Refusal(
        `The disk is full: ${path} could not be written.`,
        `Free space and ${AGAIN}, or choose another --out.`,
        { cause },
      );
    case 'EFBIG':
      return new Refusal(
        `${path} could not be written: it would exceed the file size limit.`,
        `Raise the limit (ulimit -f) and ${AGAIN}; smaller --rows-per-shard makes smaller shards.`,
        { cause },
      );
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new Refusal(`${path} may not be written (${code}).`, 'Choose an --out that you may write to.', { cause });
    case 'ENOENT':
    case 'ENOTDIR':
      return new Refusal(`${path} could not be written: its directory is gone or not a directory.`, 'Check --out.', {
        cause,
      });
    default:
      if (code === undefined || syscall === undefined) return cause;
      return new Refusal(
        `${path} could not be written (${code} on ${syscall}).`,
        `Check the disk and ${AGAIN}, or choose another --out.`,
        { cause },
      );
  }
}
