import { type FileHandle, lstat, mkdir, open, rmdir, stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { Refusal } from '../errors/refusal.js';
import { errorCode, refusedWrite } from './refused.js';

/** Another process may remove the directory it created between two of our calls. */
const MAKE_ATTEMPTS = 100;

/**
 * Creates a directory and its parents, syncing each new entry. Node's own recursive mkdir retries forever on file
 * systems that take no new names (/proc) and behind dangling links.
 *
 * @returns the first directory that was created, absolute; undefined if all existed
 * @throws Refusal naming `path` and the obstacle; created directories are removed again
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
    `${path} could not be created: the directories above it keep vanishing.`,
    'Check --out.',
    'disk/vanishing-parents',
  );
}

/** Removes `path` and its parents up to `first`, as long as they are empty. Never throws. */
export async function removeEmpty(path: string, first: string): Promise<void> {
  try {
    for (let at = resolve(path); ; at = dirname(at)) {
      await rmdir(at);
      if (at === resolve(first)) return;
    }
  } catch {}
}

/** The nearest existing directory at or above `path`, and the missing directories below it, outermost first. */
interface NearestDirectory {
  readonly nearest: string;
  readonly missing: readonly string[];
}

/**
 * Finds out where a directory would have to be created, without changing anything.
 *
 * @throws Refusal if it cannot be: a file, a dangling link or a loop of links is in the way
 */
export async function lookUp(path: string): Promise<NearestDirectory> {
  const missing: string[] = [];
  for (let at = resolve(path); ; at = dirname(at)) {
    try {
      if ((await stat(at)).isDirectory()) return { nearest: at, missing };
      throw new Refusal(
        `${path} could not be created: ${at} is not a directory.`,
        'Choose another --out.',
        'disk/parent-not-a-directory',
      );
    } catch (cause) {
      const code = errorCode(cause);
      // ENOTDIR: something further up is not a directory.
      if (code !== 'ENOENT' && code !== 'ENOTDIR') throw refusedWrite(path, cause);
      if (code === 'ENOENT' && (await isLink(at))) {
        throw new Refusal(
          `${path} could not be created: ${at} is a dangling link.`,
          'Remove the link or create its target.',
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

/** Creates one directory; false if another process was faster. */
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
      `${path} could not be created: no directories can be created in ${above}.`,
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

/** Errors of file systems without fsync for such files (FUSE, network and host shares): nothing has failed then. */
const NOT_OFFERED = ['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EBADF'];
/** A directory that is writable but not readable cannot be opened. */
const NOT_OPENED = ['EACCES', 'EPERM', 'EISDIR', ...NOT_OFFERED];

/** Syncs to disk, so that data survives a power failure, if the file system supports it. */
export async function sync(file: FileHandle): Promise<void> {
  try {
    await file.sync();
  } catch (cause) {
    if (!NOT_OFFERED.includes(errorCode(cause) ?? '')) throw cause;
  }
}

/**
 * Opens a directory so that changes to its entries can be synced. Open it before making them: running out of file
 * descriptors then fails before anything has changed.
 *
 * @returns undefined if the file system does not allow directories to be opened
 */
export function openDirectory(path: string): Promise<FileHandle | undefined> {
  return open(path, 'r').catch((cause) => {
    if (NOT_OPENED.includes(errorCode(cause) ?? '')) return undefined;
    throw cause;
  });
}
