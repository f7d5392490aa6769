import { createHash } from 'node:crypto';
import { type BigIntStats, constants } from 'node:fs';
import { lstat, open } from 'node:fs/promises';
import { join } from 'node:path';
import { Refusal } from '../config/refusal.js';
import { errorCode } from './error-code.js';
import { type Owner, ownerSchema } from './owner.js';

/** The file in an output directory that names the process that writes there. */
export const LOCK_FILE = 'sae-pipe.lock';
/** Name of the lock that takes over from the lock `id`. */
export const successor = (id: string) => `${LOCK_FILE}.after-${id}`;
/** Is this a lock, or what a process that was killed while it took one has left? */
export const isLockFile = (name: string) => name === LOCK_FILE || name.startsWith(`${LOCK_FILE}.`);

/** A lock on disk. */
export interface FoundLock {
  readonly path: string;
  readonly id: string;
  /** Undefined where the file is broken. */
  readonly owner: Owner | undefined;
}

/** Bytes of a lock are a few hundred; a command's name and a user's may be long. */
const LARGEST = 65_536;

/**
 * There is no lock, or no directory for one, which is for whoever makes it to say. ESTALE: replaced on another machine
 * while it was read; ELOOP after lstat: replaced here.
 */
const ABSENT = ['ENOENT', 'ENOTDIR', 'ESTALE', 'ELOOP', 'ENAMETOOLONG'];

/** The lock and those that took over from it, the owner's last; empty where there is none. */
export async function lockChain(directory: string): Promise<FoundLock[]> {
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
export async function readLock(path: string): Promise<FoundLock | undefined> {
  try {
    // Opening a device may do something to it, and a link is not followed, for no lock is one.
    if (!(await lstat(path)).isFile()) throw notALock(path, 'is not a regular file');
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW);
    try {
      const stat = await file.stat({ bigint: true });
      if (!stat.isFile()) throw notALock(path, 'is not a regular file');
      if (stat.size > LARGEST) throw notALock(path, `has ${stat.size} bytes`);
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
    throw new Refusal(`${path} could not be read (${code}).`, 'Check its permissions.', { cause });
  }
}

function notALock(path: string, what: string): Refusal {
  return new Refusal(
    `${path} ${what}, so it is not a lock of sae-pipe.`,
    'Delete it where no other command writes there, or choose another --out.',
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
