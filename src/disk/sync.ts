import type { FileHandle } from 'node:fs/promises';
import { open } from 'node:fs/promises';
import { errorCode } from './error-code.js';

/** What a file system answers that syncs no such thing (FUSE, network and host shares): nothing failed then. */
const NOT_OFFERED = ['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EBADF'];
/** A directory that may be written but not listed cannot be opened. */
const NOT_OPENED = ['EACCES', 'EPERM', 'EISDIR', ...NOT_OFFERED];

/** Asks that what was written survives a power failure, where the file system offers that. */
export async function sync(file: FileHandle): Promise<void> {
  try {
    await file.sync();
  } catch (cause) {
    if (!NOT_OFFERED.includes(errorCode(cause) ?? '')) throw cause;
  }
}

/**
 * Opens a directory so that changes of its names can be synced. It is opened before they are made: what cannot be
 * opened for want of file numbers then fails while nothing has changed.
 *
 * @returns undefined where the file system does not let directories be opened
 */
export function openDirectory(path: string): Promise<FileHandle | undefined> {
  return open(path, 'r').catch((cause) => {
    if (NOT_OPENED.includes(errorCode(cause) ?? '')) return undefined;
    throw cause;
  });
}
