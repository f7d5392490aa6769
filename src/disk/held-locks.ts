import { join, resolve } from 'node:path';
import { Refusal } from '../config/refusal.js';
import { exists } from './exists.js';
import { LOCK_FILE, readLock } from './lock-file.js';
import { describe } from './owner.js';

/** Ids of the locks that this process holds, by directory. */
const held = new Map<string, string>();

export const hold = (directory: string, id: string) => held.set(resolve(directory), id);
export const letGo = (directory: string) => held.delete(resolve(directory));

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
      `${directory} was taken over by ${describe(found.owner)} while this command wrote there.`,
      'It stopped without writing any more; the other one continues.',
    );
  }
  // Deleted with its directory: whoever writes there finds that out, and says it better.
  if (!(await exists(directory))) return;
  throw new Displaced(
    `The lock of ${directory} is gone: another command took the directory over and has ended since, or the lock was deleted.`,
    'This command stopped without writing any more; check what is there before you run it again.',
  );
}
