import { createHash } from 'node:crypto';
import { type BigIntStats, constants } from 'node:fs';
import { copyFile, link, lstat, open, readdir, rename, rm } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { Refusal } from '../errors/refusal.js';
import { makeDirectory, removeEmpty, sync } from './durable.js';
import { exists } from './input-file.js';
import {
  describeOwner,
  jobOfOwner,
  type Owner,
  ownerSchema,
  ownerState,
  thisProcess,
  whereabouts,
} from './lock-owner.js';
import { errorCode, refusedWrite } from './refused.js';

/** A directory locked by this process. */
export interface DirectoryLock {
  /** Whether it was taken from a dead owner: a killed process, since any other releases its locks. */
  readonly tookOver: boolean;
  /**
   * Releases the lock and removes directories it created if they are still empty. Never throws: a remaining lock is
   * found stale.
   */
  release(): Promise<void>;
}

/** How to treat an owner that cannot be checked from here. */
export interface TakeOver {
  /** --take-over: any such owner counts as dead. Otherwise only one whose Slurm job is known to be over. */
  readonly unchecked: boolean;
  /** Told whom it is taken from, beforehand. */
  say(sentence: string): void;
}

/** Retries after another process was faster: it then owns the lock, or is gone. */
const LOCK_ATTEMPTS = 100;
/** A damaged lock may still be being written; after this many milliseconds it is taken as is. */
const BROKEN_LOCK_PATIENCE = 1000;

/**
 * Creates `path` if missing and locks it, also from an owner that is gone.
 *
 * The lock is a file with the owner's identity, created atomically and only if there is none (link(2), which NFS
 * performs at the server). To take over, a process creates the one file named after the lock it succeeds, so of many
 * that try, one can; it then checks that the lock it succeeds still exists (otherwise it came late, and yields) and
 * renames its own over it. Only the holder of the successor may change what it succeeds, and ids are never reused, so
 * what it saw stays true. A process killed in between leaves a chain; its end is the owner.
 *
 * @param takeOver how to treat an owner that cannot be checked, and who is told; by default Slurm decides, silently
 * @throws Refusal naming the owner if it is running or cannot be checked
 */
export async function lockDirectory(path: string, takeOver?: TakeOver): Promise<DirectoryLock> {
  const owner = thisProcess();
  let made: string | undefined;
  for (let attempt = 0; attempt < LOCK_ATTEMPTS; attempt++) {
    try {
      // Another process may have created it, failed and removed it again.
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
  throw new Refusal(
    `${join(path, LOCK_FILE)} could not be acquired.`,
    'Delete it if no other command is writing there.',
    'disk/lock-not-taken',
  );
}

/**
 * Checks without changing anything.
 *
 * @returns whether there is a lock whose owner is gone, or counts as gone
 * @throws Refusal if another process is or may be writing to `path`
 */
export async function checkUnlocked(path: string, takeOver?: TakeOver): Promise<boolean> {
  const last = (await lockChain(path)).at(-1);
  // The owner is announced once, when the lock is actually taken.
  if (last) await requireGone(path, last, takeOver && { ...takeOver, say() {} });
  return last !== undefined;
}

async function requireGone(path: string, found: FoundLock, takeOver?: TakeOver): Promise<void> {
  const { owner, path: file, id } = found;
  if (owner === undefined) {
    for (let waited = 0; waited < BROKEN_LOCK_PATIENCE; waited += 100) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      const now = await readLock(file);
      if (now?.owner) return requireGone(path, now, takeOver);
      if (now?.id !== id) return;
    }
    return;
  }
  const standing = ownerState(owner);
  if (standing === 'gone') return;
  const who = describeOwner(owner);
  if (standing === 'running') {
    throw new Refusal(
      `${path} is in use by ${who}.`,
      'Wait for it or stop it, or choose another --out.',
      'disk/in-use',
    );
  }
  if (takeOver?.unchecked) return takeOver.say(`Taking over ${path} from ${who}, which ran ${whereabouts(owner)}.`);
  if ((await jobOfOwner(owner)) === 'over') {
    return takeOver?.say(`Taking over ${path} from ${who}, whose Slurm job ${owner.job!.id} is over.`);
  }
  throw new Refusal(
    `${path} is in use by ${who}, which cannot be checked from here: it ran ${whereabouts(owner)}.`,
    'Wait for it, or choose another --out; if you know that it has ended, add --take-over.',
    'disk/in-use-elsewhere',
  );
}

/** Who is writing to a directory, or was when it was killed. */
export interface LockSeen {
  /** Undefined if the lock is torn or garbage. */
  readonly owner: Owner | undefined;
  /** When it was taken, by the file system's clock (milliseconds since 1970). */
  readonly taken: number;
}

/**
 * Reads the lock of a directory without changing anything.
 *
 * @returns undefined if there is none, or the file of that name is not a lock or not readable
 */
export async function lookAtLock(directory: string): Promise<LockSeen | undefined> {
  try {
    const last = (await lockChain(directory)).at(-1);
    return last && { owner: last.owner, taken: (await lstat(last.path)).mtimeMs };
  } catch (error) {
    if (error instanceof Refusal || ABSENT.includes(errorCode(error) ?? '')) return undefined;
    throw error;
  }
}

const same = (a: readonly FoundLock[], b: readonly FoundLock[]) =>
  a.length === b.length && a.every(({ id }, i) => id === b[i]!.id);

/** Creates the lock file `file` atomically unless it exists; returns whether it did. */
async function createLock(path: string, file: string, owner: Owner): Promise<boolean> {
  const aside = join(path, `${LOCK_FILE}.${owner.id}.tmp`);
  try {
    const handle = await open(aside, 'wx');
    try {
      await handle.writeFile(`${JSON.stringify(owner)}\n`);
      // Synced, so that a crash leaves no empty lock.
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
    // On NFS the reply may be lost and the request sent again.
    if (code === 'EEXIST') return (await readLock(file))?.id === owner.id;
    // A faster process has cleaned up, or removed a directory that it had created.
    if (code === 'ENOENT') return false;
    throw cause;
  } finally {
    await rm(aside, { force: true });
  }
}

/** Errors of file systems without hard links. */
const NO_LINKS = ['EPERM', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS', 'EMLINK'];

/** Removes what killed processes left; a live one that wants the lock retries and finds it taken. */
async function removeLeftovers(path: string): Promise<void> {
  for (const name of await readdir(path)) {
    if (isLockFile(name) && name !== LOCK_FILE) await rm(join(path, name), { force: true });
  }
}

async function release(path: string, { id }: Owner, made: string | undefined): Promise<void> {
  letGo(path);
  try {
    const file = join(path, LOCK_FILE);
    // It may have been deleted by hand, and another process may own the lock now.
    if ((await readLock(file))?.id === id) await rm(file);
    if (made !== undefined) await removeEmpty(path, made);
  } catch {}
}

/** The file in an output directory that names the process writing there. */
export const LOCK_FILE = 'sae-pipe.lock';
/** Name of the lock that succeeds the lock `id`. */
const successor = (id: string) => `${LOCK_FILE}.after-${id}`;
/** Is this a lock, or a leftover of a process killed while taking one? */
export const isLockFile = (name: string) => name === LOCK_FILE || name.startsWith(`${LOCK_FILE}.`);

/** A lock on disk. */
interface FoundLock {
  readonly path: string;
  readonly id: string;
  /** Undefined if the file is damaged. */
  readonly owner: Owner | undefined;
}

/** A lock has a few hundred bytes; command and user names may be long. */
const LARGEST_LOCK = 65_536;

/**
 * There is no lock, or no directory for one, which is left to whoever creates it. ESTALE: replaced on another machine
 * while being read; ELOOP after lstat: replaced here.
 */
const ABSENT = ['ENOENT', 'ENOTDIR', 'ESTALE', 'ELOOP', 'ENAMETOOLONG'];

/** The lock and its successors, the owner's last; empty if there is none. */
async function lockChain(directory: string): Promise<FoundLock[]> {
  const chain: FoundLock[] = [];
  let name = LOCK_FILE;
  for (;;) {
    const found = await readLock(join(directory, name));
    if (!found || chain.some(({ id }) => id === found.id)) return chain;
    chain.push(found);
    name = successor(found.id);
  }
}

/**
 * Reads a lock; undefined if there is none.
 *
 * @throws Refusal if something else has its name: a pipe or a device, which might never end, or a large file
 */
async function readLock(path: string): Promise<FoundLock | undefined> {
  try {
    // Opening a device may have side effects; links are not followed, since locks never are links.
    if (!(await lstat(path)).isFile()) throw notALock(path, 'is not a regular file');
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
    try {
      const stat = await file.stat({ bigint: true });
      if (!stat.isFile()) throw notALock(path, 'is not a regular file');
      if (stat.size > LARGEST_LOCK) throw notALock(path, `has ${stat.size} bytes`);
      const { buffer, bytesRead } = await file.read(Buffer.alloc(Number(stat.size)), 0, Number(stat.size), 0);
      const owner = ownerIn(buffer.toString('utf8', 0, bytesRead));
      return { path, id: owner?.id ?? idOfBroken(stat), owner };
    } finally {
      await file.close();
    }
  } catch (cause) {
    const code = errorCode(cause);
    if (code === undefined) throw cause;
    if (ABSENT.includes(code)) return undefined;
    throw new Refusal(`${path} could not be read (${code}).`, 'Check its permissions.', 'disk/not-readable', { cause });
  }
}

function notALock(path: string, what: string): Refusal {
  return new Refusal(
    `${path} ${what}, so it is not a lock of sae-pipe.`,
    'Delete it if no other command is writing there, or choose another --out.',
    'disk/not-a-lock',
  );
}

/** A damaged lock is identified by properties that change when it is replaced. */
function idOfBroken({ ino, size, mtimeNs }: BigIntStats): string {
  return createHash('sha256').update(`${ino} ${size} ${mtimeNs}`).digest('hex').slice(0, 32);
}

function ownerIn(text: string): Owner | undefined {
  try {
    return ownerSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** Ids of the locks held by this process, by directory. */
const held = new Map<string, string>();

const hold = (directory: string, id: string) => held.set(resolve(directory), id);
const letGo = (directory: string) => held.delete(resolve(directory));

/** The directory belongs to another process now: this one must not clean up anything in it. */
export class Displaced extends Refusal {}

/**
 * Checks that a directory locked by this process was not taken over: by `--take-over` on another machine, whose user
 * believed this process dead. Call it before writing or deleting anything there. A missing lock counts as taken over:
 * the new owner has ended since, and the files there are its work.
 *
 * @throws Displaced naming the new owner, if it is still there
 */
export async function requireStillOwner(directory: string): Promise<void> {
  const id = held.get(resolve(directory));
  if (id === undefined) return;
  const found = await readLock(join(directory, LOCK_FILE));
  if (found?.id === id || (found && !found.owner)) return;
  if (found?.owner) {
    throw new Displaced(
      `${directory} was taken over by ${describeOwner(found.owner)} while this command wrote there.`,
      'This command has stopped writing; the other one continues.',
      'disk/taken-over',
    );
  }
  // Deleted with its directory: whoever writes there notices and reports it better.
  if (!(await exists(directory))) return;
  throw new Displaced(
    `The lock of ${directory} has disappeared: another command took over the directory and has ended since, or the lock was deleted.`,
    'This command has stopped writing; check the directory before you run it again.',
    'disk/taken-over',
  );
}
