import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { copyFile, link, mkdir, open, readdir, readFile, rename, rm, rmdir, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { Refusal } from '../config/refusal.js';
import { type Owner, ownerSchema, standingOf, thisProcess } from './owner.js';
import { refusedWrite } from './write-aside.js';

/** The file in an output directory that names the process at work there. */
export const LOCK_FILE = 'sae-pipe.lock';
/** Name of the lock that takes over from the lock `id`. */
const successor = (id: string) => `${LOCK_FILE}.after-${id}`;
/** Is this a lock, or what a process that was killed while it took one has left? */
export const isLockFile = (name: string) => name === LOCK_FILE || name.startsWith(`${LOCK_FILE}.`);

/** A directory that belongs to this process. */
export interface DirectoryLock {
  /** From an owner that is gone: it was killed, for else it would have given the directory up. */
  readonly tookOver: boolean;
  /** Gives it up, and removes what of it was made for the lock and is empty. Never fails: what is left is found stale. */
  release(): Promise<void>;
}

/** A lock on disk. */
interface Found {
  readonly path: string;
  readonly id: string;
  /** Undefined where the file is broken. */
  readonly owner: Owner | undefined;
}

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
 * @throws Refusal naming the owner where it is at work, or on another machine
 */
export async function lockDirectory(path: string): Promise<DirectoryLock> {
  const owner = thisProcess();
  let made: string | undefined;
  for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
    try {
      // Another process may have made it, failed and removed it again.
      const now = await mkdir(path, { recursive: true });
      made ??= now;
      const chain = await chainOf(path);
      const last = chain.at(-1);
      if (last) await requireGone(path, last);
      const taken = join(path, last ? successor(last.id) : LOCK_FILE);
      if (!(await createLock(path, taken, owner))) continue;
      if (last) {
        if (!same(chain, (await chainOf(path)).slice(0, -1))) {
          await rm(taken, { force: true });
          continue;
        }
        await rename(taken, join(path, LOCK_FILE));
      }
      await removeLeftovers(path);
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
 * @returns is there a lock whose owner is gone?
 * @throws Refusal where another process is at work in `path`, or may be
 */
export async function checkUnlocked(path: string): Promise<boolean> {
  const last = (await chainOf(path)).at(-1);
  if (last) await requireGone(path, last);
  return last !== undefined;
}

async function requireGone(path: string, { owner, path: file, id }: Found): Promise<void> {
  if (owner === undefined) {
    for (let waited = 0; waited < PATIENCE; waited += 100) {
      await new Promise((resolve) => setTimeout(resolve, 100));
      const now = await readLock(file);
      if (now?.owner) return requireGone(path, now);
      if (now?.id !== id) return;
    }
    return;
  }
  const standing = standingOf(owner);
  if (standing === 'gone') return;
  const { pid, user, host, command, since } = owner;
  const who = `\`${command}\` (pid ${pid} of ${user} on ${host}, since ${since})`;
  if (standing === 'running') {
    throw new Refusal(`${path} is in use by ${who}.`, 'Wait for it or stop it, or choose another --out.');
  }
  throw new Refusal(
    `${path} is in use by ${who}, which cannot be checked from here.`,
    `Wait for it, or choose another --out; where you know that it is gone, delete ${file}.`,
  );
}

/** The lock and those that took over from it, the owner's last; empty where there is none. */
async function chainOf(path: string): Promise<Found[]> {
  const chain: Found[] = [];
  let name = LOCK_FILE;
  for (;;) {
    const found = await readLock(join(path, name));
    if (!found || chain.some(({ id }) => id === found.id)) return chain;
    chain.push(found);
    name = successor(found.id);
  }
}

const same = (a: readonly Found[], b: readonly Found[]) =>
  a.length === b.length && a.every(({ id }, i) => id === b[i]!.id);

async function readLock(path: string): Promise<Found | undefined> {
  try {
    const text = await readFile(path, 'utf8');
    const owner = parsed(text);
    if (owner) return { path, id: owner.id, owner };
    const { ino, size, mtimeNs } = await stat(path, { bigint: true });
    const id = createHash('sha256').update(`${ino} ${size} ${mtimeNs}`).digest('hex').slice(0, 32);
    return { path, id, owner: undefined };
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    // ESTALE: replaced on another machine while it was read.
    if (code === 'ENOENT' || code === 'ENOTDIR' || code === 'ESTALE') return undefined;
    throw new Refusal(`${path} could not be read (${code}).`, 'Check its permissions.', { cause });
  }
}

function parsed(text: string): Owner | undefined {
  try {
    return ownerSchema.parse(JSON.parse(text));
  } catch {
    return undefined;
  }
}

/** Writes the lock as `file`, whole, where there is no such file; says whether it did. */
async function createLock(path: string, file: string, owner: Owner): Promise<boolean> {
  const aside = join(path, `${LOCK_FILE}.${owner.id}.tmp`);
  try {
    const handle = await open(aside, 'wx');
    try {
      await handle.writeFile(`${JSON.stringify(owner)}\n`);
      // A machine that stops leaves no empty lock.
      await handle.sync();
    } finally {
      await handle.close();
    }
    await link(aside, file).catch((cause: NodeJS.ErrnoException) => {
      if (!NO_LINKS.includes(cause.code ?? '')) throw cause;
      return copyFile(aside, file, constants.COPYFILE_EXCL);
    });
    return true;
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
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
  try {
    const file = join(path, LOCK_FILE);
    // Someone may have deleted it by hand, and another process may be the owner.
    if ((await readLock(file))?.id === id) await rm(file);
    if (made !== undefined) await removeEmpty(path, made);
  } catch {}
}

/** Removes `path` and the directories above it down from `first`, as far as they are empty. */
async function removeEmpty(path: string, first: string): Promise<void> {
  try {
    for (let at = resolve(path); ; at = dirname(at)) {
      await rmdir(at);
      if (at === resolve(first)) return;
    }
  } catch {}
}
