import { type FileHandle, lstat, mkdir, open, rmdir, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { Refusal } from '../errors/refusal.js';
import { errorCode, refusedWrite } from './refused.js';

/** Another process may remove a directory that it had made between two of our calls. */
const MAKE_ATTEMPTS = 100;

/**
 * Makes a directory with its parents, each entered durably in the one above. Node's own recursive mkdir tries for ever
 * where a file system takes no new names (/proc) and behind links that lead nowhere.
 *
 * @returns the first directory that was made, absolute; undefined where all of them existed
 * @throws Refusal naming `path` and what is in the way; what was made is removed again
 */
export async function makeDirectory(path: string): Promise<string | undefined> {
  for (let attempt = 0; attempt < MAKE_ATTEMPTS; attempt++) {
    const { missing } = await lookUp(path);
    const made: string[] = [];
    try {
      for (const one of missing) if (await makeOne(path, one)) made.push(one);
      return made[0];
    } catch (cause) {
      if (made[0] !== undefined) await removeEmpty(made.at(-1)!, made[0]);
      if (cause !== VANISHED) throw refusedWrite(path, cause);
    }
  }
  throw new Refusal(
    `${path} could not be made: the directories above it keep vanishing.`,
    'Check --out.',
    'disk/vanishing-parents',
  );
}

/** Removes `path` and the directories above it down from `first`, as far as they are empty. Never fails. */
export async function removeEmpty(path: string, first: string): Promise<void> {
  try {
    for (let at = resolve(path); ; at = dirname(at)) {
      await rmdir(at);
      if (at === resolve(first)) return;
    }
  } catch {}
}

/** The nearest directory at or above `path`, and the directories below it that `path` lacks, the highest first. */
interface NearestDirectory {
  readonly nearest: string;
  readonly missing: readonly string[];
}

/**
 * Finds out where a directory would have to be made; changes nothing.
 *
 * @throws Refusal where it could not be: a file, a link to nothing or a loop of links is in the way
 */
export async function lookUp(path: string): Promise<NearestDirectory> {
  const missing: string[] = [];
  for (let at = resolve(path); ; at = dirname(at)) {
    try {
      if ((await stat(at)).isDirectory()) return { nearest: at, missing };
      throw new Refusal(
        `${path} could not be made: ${at} is not a directory.`,
        'Choose another --out.',
        'disk/parent-not-a-directory',
      );
    } catch (cause) {
      const code = errorCode(cause);
      // ENOTDIR: something further up is not a directory.
      if (code !== 'ENOENT' && code !== 'ENOTDIR') throw refusedWrite(path, cause);
      if (code === 'ENOENT' && (await isLink(at))) {
        throw new Refusal(
          `${path} could not be made: ${at} is a link to nothing.`,
          'Remove the link or make its target.',
          'disk/broken-link',
        );
      }
      missing.unshift(at);
    }
  }
}

const isLink = (path: string) =>
  lstat(path).then(
    (found) => found.isSymbolicLink(),
    () => false,
  );

const VANISHED = new Error('the directory above is gone');

/** Makes one directory; false where another process was quicker. */
async function makeOne(path: string, one: string): Promise<boolean> {
  const above = dirname(one);
  const opened = await openDirectory(above).catch((cause) => {
    throw errorCode(cause) === 'ENOENT' ? VANISHED : cause;
  });
  try {
    await mkdir(one);
  } catch (cause) {
    await opened?.close().catch(() => {});
    const code = errorCode(cause);
    if (code === 'EEXIST') return false;
    if (code !== 'ENOENT') throw cause;
    if (!(await stat(above).catch(() => undefined))) throw VANISHED;
    throw new Refusal(
      `${path} could not be made: ${above} takes no new directories.`,
      'Choose an --out on an ordinary file system.',
      'disk/no-new-directories',
      { cause },
    );
  }
  if (!opened) return true;
  try {
    await sync(opened);
    return true;
  } catch (cause) {
    await rmdir(one).catch(() => {});
    throw cause;
  } finally {
    await opened.close().catch(() => {});
  }
}

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
