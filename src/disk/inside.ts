import { lstat, realpath } from 'node:fs/promises';
import { dirname } from 'node:path';
import { Refusal } from '../config/refusal.js';

/** A file of the Hugging Face cache: its snapshots are links to blobs, which have no name of their own. */
const BLOB = /\/(models|datasets|spaces)--[^/]+\/blobs\/[^/]+$/;

/**
 * Makes sure that a file found in a directory lies there: a directory from elsewhere may hold symbolic links to
 * anything that its reader may read. Links within the directory, and to blobs of a Hugging Face cache, are followed.
 *
 * @param path of the file, by its name in the directory; that nothing is there is for its reader to say
 * @throws Refusal where a link leads out of the directory
 */
export async function checkInside(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (!found?.isSymbolicLink()) return;
  const [target, directory] = await Promise.all([realpath(path), realpath(dirname(path))]).catch(() => []);
  if (target === undefined || directory === undefined) return;
  if (target.startsWith(`${directory}/`) || BLOB.test(target)) return;
  throw new Refusal(
    `${path} is a symbolic link that leads out of its directory.`,
    'Put the file itself there (cp -L), if it is what you mean.',
  );
}
