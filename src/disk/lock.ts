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

/** A directory that belongs to this process. */
export interface DirectoryLock {
  /** From an owner that is gone: a process that was killed, since any other gives the directory up. */
  readonly tookOver: boolean;
  /** Gives it up, and removes directories made for the lock that are empty. Never fails: a lock left is found stale. */
  release(): Promise<void>;
}

/** How a directory may be taken from an owner that cannot be checked from here. */
export interface TakeOver {
  /** --take-over: any such owner counts as gone. Else only one whose Slurm job is known to be over. */
  readonly unchecked: boolean;
  /** Told whom it is taken from, before it is done. */
  say(sentence: string): void;
}

/** Looks again after another process was quicker: it has the lock then, or is gone. */
const LOCK_ATTEMPTS = 100;
/** A broken lock may be in the midst of being written; it is taken for what it is after this many milliseconds. */
const BROKEN_LOCK_PATIENCE = 1000;

/**
 * Makes `path` where it is missing and takes its lock, from an owner that is gone too.
 *
 * The lock is a file with the owner's name in it that appears whole and only where there is none (link(2), which NFS
 * does at the server). To take over, a process creates the one file that is named after the lock it follows, so of many
 * that try, one can; it then looks whether what it follows is still there (else it came late, and gives way) and puts
 * its own in its place by renaming. Only the one that holds the successor may change what it follows, and an id never
 * comes again, so what it saw stays true. A process killed in between leaves a chain; its end is the owner.
 *
 * @param takeOver how an owner that cannot be checked from here is judged, and who is told; none: by Slurm, silently
 * @throws Refusal naming the owner where it runs, or cannot be checked
 */
export async function lockDirectory(path: string, takeOver?: TakeOver): Promise<DirectoryLock> {
  const owner = thisProcess();
  let made: string | undefined;
  for (let attempt = 0; attempt < LOCK_ATTEMPTS; attempt++) {
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
  throw new Refusal(
    `${join(path, LOCK_FILE)} could not be taken.`,
    'Delete it where no other command writes there.',
    'disk/lock-not-taken',
  );
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
  if (takeOver?.unchecked) return takeOver.say(`Taking ${path} over from ${who}, which ran ${whereabouts(owner)}.`);
  if ((await jobOfOwner(owner)) === 'over') {
    return takeOver?.say(`Taking ${path} over from ${who}, whose Slurm job ${owner.job!.id} is over.`);
  }
  throw new Refusal(
    `${path} is in use by ${who}, which cannot be checked from here: it ran ${whereabouts(owner)}.`,
    'Wait for it, or choose another --out; where you know that it is gone, add --take-over.',
    'disk/in-use-elsewhere',
  );
}

/** Who writes to a directory, or did when it was killed. */
export interface LockSeen {
  /** Undefined where the lock is torn or garbage. */
  readonly owner: Owner | undefined;
  /** When it was taken, by the clock of the file system (milliseconds since 1970). */
  readonly taken: number;
}

/**
 * Looks at the lock of a directory, and changes nothing.
 *
 * @returns undefined where there is none, or what has its name is not a lock or may not be read
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

/** The file in an output directory that names the process that writes there. */
export const LOCK_FILE = 'sae-pipe.lock';
/** Name of the lock that takes over from the lock `id`. */
const successor = (id: string) => `${LOCK_FILE}.after-${id}`;
/** Is this a lock, or what a process that was killed while it took one has left? */
export const isLockFile = (name: string) => name === LOCK_FILE || name.startsWith(`${LOCK_FILE}.`);

/** A lock on disk. */
interface FoundLock {
  readonly path: string;
  readonly id: string;
  /** Undefined where the file is broken. */
  readonly owner: Owner | undefined;
}

/** Bytes of a lock are a few hundred; a command's name and a user's may be long. */
const LARGEST_LOCK = 65_536;

/**
 * There is no lock, or no directory for one, which is for whoever makes it to say. ESTALE: replaced on another machine
 * while it was read; ELOOP after lstat: replaced here.
 */
const ABSENT = ['ENOENT', 'ENOTDIR', 'ESTALE', 'ELOOP', 'ENAMETOOLONG'];

/** The lock and those that took over from it, the owner's last; empty where there is none. */
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
 * Reads a lock; undefined where there is none.
 *
 * @throws Refusal where something else has its name: a pipe or a device, which might never end, or a large file
 */
async function readLock(path: string): Promise<FoundLock | undefined> {
  try {
    // Opening a device may do something to it, and a link is not followed, for no lock is one.
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
    'Delete it where no other command writes there, or choose another --out.',
    'disk/not-a-lock',
  );
}

/** A broken lock is named by what would change if it were replaced. */
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

/** Ids of the locks that this process holds, by directory. */
const held = new Map<string, string>();

const hold = (directory: string, id: string) => held.set(resolve(directory), id);
const letGo = (directory: string) => held.delete(resolve(directory));

/** The directory belongs to another process now: nothing in it is this one's to clean up. */
export class Displaced extends Refusal {}

/**
 * Makes sure that a directory that this process has locked was not taken from it: by `--take-over` on another machine,
 * whose user believed this process to be gone. To be called before anything in it is written or deleted. A lock that is
 * not there counts as taken: whoever took it over has ended since, and what lies there is its work.
 *
 * @throws Displaced naming the new owner, where it is still there
 */
export async function requireStillOwner(directory: string): Promise<void> {
  const id = held.get(resolve(directory));
  if (id === undefined) return;
  const found = await readLock(join(directory, LOCK_FILE));
  if (found?.id === id || (found && !found.owner)) return;
  if (found?.owner) {
    throw new Displaced(
      `${directory} was taken over by ${describeOwner(found.owner)} while this command wrote there.`,
      'It stopped without writing any more; the other one continues.',
      'disk/taken-over',
    );
  }
  // Deleted with its directory: whoever writes there finds that out, and says it better.
  if (!(await exists(directory))) return;
  throw new Displaced(
    `The lock of ${directory} is gone: another command took the directory over and has ended since, or the lock was deleted.`,
    'This command stopped without writing any more; check what is there before you run it again.',
    'disk/taken-over',
  );
}
