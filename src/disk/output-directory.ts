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
  /** Keep existing files and resume. */
  readonly resume?: boolean;
  /** Is this a file name that the stage itself writes? Anything else is the user's and is never deleted. */
  readonly ours: (name: string) => boolean;
  /** The flag for resuming on this stage's command line, if it has one. */
  readonly resumeFlag?: string;
  /** The file that marks the others as complete: written last, deleted first. */
  readonly result?: string;
  /** Is the output of a killed run worthless without `result`? Then the next run removes it without asking. */
  readonly beginsAnew?: boolean;
  /** How to treat an owner that cannot be checked from here, and who is told when the directory is taken over. */
  readonly takeOver?: TakeOver;
  /** Files and directories that the command reads: overwriting must not delete them. */
  readonly inputs?: readonly (string | undefined)[];
}

/**
 * Checks whether `path` may be written to, without changing anything: existing output is refused unless it may be
 * overwritten or resumed, and if it contains anything that the stage does not write itself.
 *
 * @returns file names that overwriting deletes
 * @throws Refusal if something is in the way
 */
export async function checkOutputDirectory(path: string, options: ClaimOptions): Promise<string[]> {
  if (options.overwrite && options.resume) {
    throw new UsageRefusal(
      '--overwrite and --resume exclude each other.',
      'Give only one.',
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
      `${path} contains ${foreign}, which this command did not write.`,
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
 * Locks `path` for this process, before reading anything in it that decides what to do. Changes nothing else.
 *
 * @throws Refusal if another process is working there, or for the reasons of checkOutputDirectory
 */
export async function lockOutputDirectory(path: string, options: ClaimOptions): Promise<DirectoryLock> {
  // Before checking the contents: what a running process has written must be neither overwritten nor resumed.
  const killed = await checkUnlocked(path, options.takeOver);
  if (!(killed && options.beginsAnew)) await checkOutputDirectory(path, options);
  const lock = await lockDirectory(path, options.takeOver);
  try {
    if (lock.tookOver && options.beginsAnew) await removeBeginning(path, options);
    // An owner that finished meanwhile has left its output.
    await checkOutputDirectory(path, options);
  } catch (error) {
    await lock.release();
    throw error;
  }
  return lock;
}

/** Removes the leftovers of a killed run, if all of them are the stage's own and its result is missing. */
async function removeBeginning(path: string, options: ClaimOptions): Promise<void> {
  const names = (await readdir(path)).filter((name) => !isLockFile(name));
  if (names.some((name) => name === options.result || !isOurs(name, options))) return;
  for (const name of names) await rm(join(path, name), { recursive: true });
}

const isOurs = (name: string, { ours }: Pick<ClaimOptions, 'ours'>) => ours(writtenAside(name) ?? name);

/** Does `work` while holding the directories' locks, and releases them however it ends. */
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
 * Prepares `path` for writing, after checkOutputDirectory's checks; deletes what is overwritten and what a kill left
 * half-written. To be called by the lock's owner once nothing but the work itself can fail.
 */
export async function claimOutputDirectory(path: string, options: ClaimOptions): Promise<void> {
  // Hours may have passed since it was locked.
  await requireStillOwner(path);
  const old = await checkOutputDirectory(path, options);
  await makeDirectory(path);
  await remove(path, old, options.result);
  if (options.resume) await removeHalfWritten(path, options.ours);
}

/** Removes a killed process's unfinished temporary files. To be called by the owner while it is writing none. */
export async function removeHalfWritten(path: string, ours: ClaimOptions['ours']): Promise<void> {
  for (const name of await readdir(path)) {
    if (writtenAside(name) !== undefined && isOurs(name, { ours })) await rm(join(path, name), { force: true });
  }
}

/** Removes files. A power failure must never bring back the file that marks the others as complete without them. */
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
 * Checks that something can be created at `path`: in it if it exists, otherwise in the nearest directory above.
 *
 * @throws Refusal naming `path`
 */
export async function checkWritable(path: string): Promise<void> {
  await access((await lookUp(path)).nearest, constants.W_OK).catch((cause) => {
    throw refusedWrite(path, cause);
  });
}
