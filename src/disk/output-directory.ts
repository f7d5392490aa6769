import { constants } from 'node:fs';
import { access, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Refusal, UsageRefusal } from '../errors/refusal.js';
import { lookUp, makeDirectory, openDirectory, sync } from './durable.js';
import { checkNotInputs } from './input-file.js';
import {
  checkUnlocked,
  type DirectoryLock,
  isLockFile,
  lockDirectory,
  requireStillOwner,
  type TakeOver,
} from './lock.js';
import { writtenAside } from './output-file.js';
import { refusedWrite } from './refused.js';

export interface ClaimOptions {
  readonly overwrite: boolean;
  /** Keep what is there and resume it. */
  readonly resume?: boolean;
  /** Is this a name that the stage itself writes? Anything else is the user's and is never deleted. */
  readonly ours: (name: string) => boolean;
  /** How to say "resume" on this stage's command line, where it can. */
  readonly resumeFlag?: string;
  /** The name that says that the others are whole: written last, deleted first. */
  readonly result?: string;
  /** Is what a killed run leaves without `result` worth nothing? Then the next run removes it unasked. */
  readonly beginsAnew?: boolean;
  /** How an owner that cannot be checked from here is judged, and who is told when the directory is taken from it. */
  readonly takeOver?: TakeOver;
  /** Files and directories that the command reads: overwriting must not delete what lies there. */
  readonly inputs?: readonly (string | undefined)[];
}

/**
 * Looks whether `path` may be written to, and changes nothing: an existing output is refused unless it may be
 * overwritten or resumed, and where it holds anything that the stage does not write itself.
 *
 * @returns names that overwriting deletes
 * @throws Refusal when there is something in the way
 */
export async function checkOutputDirectory(path: string, options: ClaimOptions): Promise<string[]> {
  if (options.overwrite && options.resume) {
    throw new UsageRefusal(
      '--overwrite and --resume exclude each other.',
      'Give the one you mean.',
      'disk/overwrite-and-resume',
    );
  }
  const existing = await stat(path).catch(() => undefined);
  if (!existing) {
    await checkWritable(path);
    return [];
  }
  if (!existing.isDirectory())
    throw new Refusal(`${path} is a file, not a directory.`, 'Choose another --out.', 'disk/out-not-a-directory');
  await checkWritable(path);
  const names = (await readdir(path)).filter((name) => !isLockFile(name));
  if (names.length === 0 || options.resume) return [];
  if (!options.overwrite) {
    const resume = options.resumeFlag ? ` or ${options.resumeFlag} to continue it` : '';
    throw new Refusal(
      `${path} exists and is not empty.`,
      `Choose another --out, or add --overwrite to replace it${resume}.`,
      'disk/out-exists',
    );
  }
  const foreign = names.find((name) => !isOurs(name, options));
  if (foreign) {
    throw new Refusal(
      `${path} holds ${foreign}, which this command did not write.`,
      'Choose another --out; --overwrite deletes only its own files.',
      'disk/foreign-files',
    );
  }
  await checkNotInputs(
    names.map((name) => join(path, name)),
    options.inputs ?? [],
  );
  const first = (name: string) => (name === options.result ? 0 : 1);
  return names.sort((a, b) => first(a) - first(b));
}

/**
 * Makes this process the owner of `path`, before anything in it is read that decides what is done. Nothing else
 * changes on disk.
 *
 * @throws Refusal when another process is working there, or for the reasons of checkOutputDirectory
 */
export async function lockOutputDirectory(path: string, options: ClaimOptions): Promise<DirectoryLock> {
  // Before its contents: what a running process has written must be neither overwritten nor resumed.
  const killed = await checkUnlocked(path, options.takeOver);
  if (!(killed && options.beginsAnew)) await checkOutputDirectory(path, options);
  const lock = await lockDirectory(path, options.takeOver);
  try {
    if (lock.tookOver && options.beginsAnew) await removeBeginning(path, options);
    // An owner that finished meanwhile has left something.
    await checkOutputDirectory(path, options);
  } catch (error) {
    await lock.release();
    throw error;
  }
  return lock;
}

/** Removes what a killed run left, where all of it is the stage's own and its result is not there. */
async function removeBeginning(path: string, options: ClaimOptions): Promise<void> {
  const names = (await readdir(path)).filter((name) => !isLockFile(name));
  if (names.some((name) => name === options.result || !isOurs(name, options))) return;
  for (const name of names) await rm(join(path, name), { recursive: true });
}

const isOurs = (name: string, { ours }: Pick<ClaimOptions, 'ours'>) => ours(writtenAside(name) ?? name);

/** Does `work` as the owner of the directories, and gives them up however it ends. */
export async function asOwner<T>(paths: readonly string[], options: ClaimOptions, work: () => Promise<T>): Promise<T> {
  const locks: DirectoryLock[] = [];
  try {
    for (const path of paths) locks.push(await lockOutputDirectory(path, options));
    return await work();
  } finally {
    for (const lock of locks.reverse()) await lock.release();
  }
}

/**
 * Makes `path` ready to be written to, after checkOutputDirectory's checks; what is overwritten is deleted here, and
 * what a kill left half-written. To be called by the owner when nothing but the work itself can fail any more.
 */
export async function claimOutputDirectory(path: string, options: ClaimOptions): Promise<void> {
  // Hours may have passed since it was locked.
  await requireStillOwner(path);
  const old = await checkOutputDirectory(path, options);
  await makeDirectory(path);
  await remove(path, old, options.result);
  if (options.resume) await removeHalfWritten(path, options.ours);
}

/** Removes what a kill left of files that were being written aside. To be called by the owner, who is writing none. */
export async function removeHalfWritten(path: string, ours: ClaimOptions['ours']): Promise<void> {
  for (const name of await readdir(path)) {
    if (writtenAside(name) !== undefined && isOurs(name, { ours })) await rm(join(path, name), { force: true });
  }
}

/** Removes files; no power failure may bring back the one that says that the others are whole, and not those. */
async function remove(path: string, names: readonly string[], result: string | undefined): Promise<void> {
  try {
    for (const name of names) {
      await rm(join(path, name), { recursive: true });
      if (name === result) await syncNames(path);
    }
  } catch (cause) {
    throw refusedWrite(path, cause);
  }
}

async function syncNames(path: string): Promise<void> {
  const directory = await openDirectory(path);
  if (!directory) return;
  try {
    await sync(directory);
  } finally {
    await directory.close();
  }
}

/**
 * Checks that something can be written at `path`: into it where it exists, else into the nearest directory above.
 *
 * @throws Refusal naming `path`
 */
export async function checkWritable(path: string): Promise<void> {
  await access((await lookUp(path)).nearest, constants.W_OK).catch((cause) => {
    throw refusedWrite(path, cause);
  });
}
