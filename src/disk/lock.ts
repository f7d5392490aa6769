import { constants } from 'node:fs';
import { copyFile, link, open, readdir, rename, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { Refusal } from '../config/refusal.js';
import { errorCode } from './error-code.js';
import { hold, letGo } from './held-locks.js';
import { type FoundLock, isLockFile, LOCK_FILE, lockChain, readLock, successor } from './lock-file.js';
import { makeDirectory, removeEmpty } from './make-directory.js';
import { describe, type Owner, standingOf, thisProcess, whereabouts } from './owner.js';
import { refusedWrite } from './refused-write.js';
import { sync } from './sync.js';

/** A directory that belongs to this process. */
export interface DirectoryLock {
  /** From an owner that is gone: a process that was killed, since any other gives the directory up. */
  readonly tookOver: boolean;
  /** Gives it up, and removes directories made for the lock that are empty. Never fails: a lock left is found stale. */
  release(): Promise<void>;
}

/** Takes a directory from an owner that cannot be checked from here; told whom, before it is done. */
export type TakeOver = (sentence: string) => void;

/** Looks again after another process was quicker: it has the lock then, or is gone. */
const ATTEMPTS = 100;
/** A broken lock may be in the midst of being written; it is taken for what it is after so many milliseconds. */
const PATIENCE = 1000;

/**
 * Makes `path` where it is missing and takes its lock, from an owner that is gone too.
 *
 * The lock is a file with the owner's name in it that appears whole and only where there is none (link(2), which NFS
 * does at the server). To take over, a process creates the one file that is named after the lock it follows, so of many
 * that try, one can; it then looks whether what it follows is still there (else it came late, and gives way) and puts
 * its own in its place by renaming. Only the one that holds the successor may change what it follows, and an id never
 * comes again, so what it saw stays true. A process killed in between leaves a chain; its end is the owner.
 *
 * @param takeOver given: an owner that cannot be checked from here counts as gone, and it is told whom
 * @throws Refusal naming the owner where it runs, or cannot be checked
 */
export async function lockDirectory(path: string, takeOver?: TakeOver): Promise<DirectoryLock> {
  const owner = thisProcess();
  let made: string | undefined;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    try {
      // Another process may have made it, failed and removed it again.
      const now = await makeDirectory(path);
      made ??= now;
      const chain = await lockChain(path);
      const last = chain.at(-1);
      if (last) await requireGone(path, last, takeOver);
      const taken = join(path, last ? successor(last.id) : LOCK_FILE);
      if (!(await createLock(path, taken, owner))) continue;
      if (last) {
        if (!same(chain, (await lockChain(path)).slice(0, -1))) {
          await rm(taken, { force: true });
          continue;
        }
        await rename(taken, join(path, LOCK_FILE));
      }
      await removeLeftovers(path);
      hold(path, owner.id);
      return { tookOver: last !== undefined, release: () => release(path, owner, made) };
    } catch (cause) {
      if (made !== undefined) await removeEmpty(path, made);
      throw refusedWrite(path, cause);
    }
  }
  throw new Refusal(`${join(path, LOCK_FILE)} could not be taken.`, 'Delete it where no other command writes there.');
}

/**
 * Changes nothing.
 *
 * @returns is there a lock whose owner is gone, or counts as gone?
 * @throws Refusal where another process writes to `path`, or may
 */
export async function checkUnlocked(path: string, takeOver?: TakeOver): Promise<boolean> {
  const last = (await lockChain(path)).at(-1);
  // Whom it is taken from is said once, when it is.
  if (last) await requireGone(path, last, takeOver && (() => {}));
  return last !== undefined;
}

async function requireGone(path: string, found: FoundLock, takeOver?: TakeOver): Promise<void> {
  const { owner, path: file, id } = found;
  if (owner === undefined) {
    for (let waited = 0; waited < PATIENCE; waited += 100) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      const now = await readLock(file);
      if (now?.owner) return requireGone(path, now, takeOver);
      if (now?.id !== id) return;
    }
    return;
  }
  const standing = standingOf(owner);
  if (standing === 'gone') return;
  const who = describe(owner);
  if (standing === 'running') {
    throw new Refusal(`${path} is in use by ${who}.`, 'Wait for it or stop it, or choose another --out.');
  }
  if (takeOver) return takeOver(`Taking ${path} over from ${who}, which ran ${whereabouts(owner)}.`);
  throw new Refusal(
    `${path} is in use by ${who}, which cannot be checked from here: it ran ${whereabouts(owner)}.`,
    'Wait for it, or choose another --out; where you know that it is gone, add --take-over.',
  );
}

const same = (a: readonly FoundLock[], b: readonly FoundLock[]) =>
  a.length === b.length && a.every(({ id }, i) => id === b[i]!.id);

/** Writes the lock as `file`, whole, where there is no such file; says whether it did. */
async function createLock(path: string, file: string, owner: Owner): Promise<boolean> {
  const aside = join(path, `${LOCK_FILE}.${owner.id}.tmp`);
  try {
    const handle = await open(aside, 'wx');
    try {
      await handle.writeFile(`${JSON.stringify(owner)}\n`);
      // A machine that stops leaves no empty lock.
      await sync(handle);
    } finally {
      await handle.close();
    }
    await link(aside, file).catch((cause) => {
      if (!NO_LINKS.includes(errorCode(cause) ?? '')) throw cause;
      return copyFile(aside, file, constants.COPYFILE_EXCL);
    });
    return true;
  } catch (cause) {
    const code = errorCode(cause);
    // On NFS the answer may be lost and the request sent again.
    if (code === 'EEXIST') return (await readLock(file))?.id === owner.id;
    // Whoever was quicker has tidied up, or removed a directory that it had made.
    if (code === 'ENOENT') return false;
    throw cause;
  } finally {
    await rm(aside, { force: true });
  }
}

/** What a file system without hard links answers. */
const NO_LINKS = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'];

/** Removes what killed processes left; a living one that wants the lock looks again and finds it taken. */
async function removeLeftovers(path: string): Promise<void> {
  for (const name of await readdir(path)) {
    if (isLockFile(name) && name !== LOCK_FILE) await rm(join(path, name), { force: true });
  }
}

async function release(path: string, { id }: Owner, made: string | undefined): Promise<void> {
  letGo(path);
  try {
    const file = join(path, LOCK_FILE);
    // Someone may have deleted it by hand, and another process may be the owner.
    if ((await readLock(file))?.id === id) await rm(file);
    if (made !== undefined) await removeEmpty(path, made);
  } catch {}
}
