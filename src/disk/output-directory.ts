import { constants } from 'node:fs';
import { access, mkdir, readdir, rm, stat } from 'node:fs/promises';
import { dirname, join, resolve } from 'node:path';
import { Refusal, UsageRefusal } from '../config/refusal.js';
import { refusedWrite } from './write-aside.js';

export interface ClaimOptions {
  readonly overwrite: boolean;
  /** Keep what is there and go on with it. */
  readonly resume?: boolean;
  /** Is this a name that the stage itself writes? Anything else is the user's and is never deleted. */
  readonly ours: (name: string) => boolean;
  /** How to say "go on with it" on this stage's command line, where it can. */
  readonly resumeFlag?: string;
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
    throw new UsageRefusal('--overwrite and --resume exclude each other.', 'Give the one you mean.');
  }
  const existing = await stat(path).catch(() => undefined);
  if (!existing) {
    await checkWritable(path);
    return [];
  }
  if (!existing.isDirectory()) throw new Refusal(`${path} is a file, not a directory.`, 'Choose another --out.');
  await checkWritable(path);
  const names = await readdir(path);
  if (names.length === 0 || options.resume) return [];
  if (!options.overwrite) {
    const resume = options.resumeFlag ? ` or ${options.resumeFlag} to go on with it` : '';
    throw new Refusal(
      `${path} exists and is not empty.`,
      `Choose another --out, or add --overwrite to replace it${resume}.`,
    );
  }
  const foreign = names.find((name) => !options.ours(name.replace(/\.tmp$/, '')));
  if (foreign) {
    throw new Refusal(
      `${path} holds ${foreign}, which this command did not write.`,
      'Choose another --out; --overwrite deletes only its own files.',
    );
  }
  return names;
}

/**
 * Makes `path` ready to be written to, after checkOutputDirectory's checks; what is overwritten is deleted here. To be
 * called when nothing but the work itself can fail any more.
 */
export async function claimOutputDirectory(path: string, options: ClaimOptions): Promise<void> {
  for (const name of await checkOutputDirectory(path, options)) await rm(join(path, name), { recursive: true });
  await mkdir(path, { recursive: true }).catch((cause) => {
    throw refusedWrite(path, cause);
  });
}

/**
 * Looks whether something can be written at `path`: into it where it is there, else into the nearest directory above.
 *
 * @throws Refusal naming `path`
 */
export async function checkWritable(path: string): Promise<void> {
  await access(await nearest(resolve(path)), constants.W_OK).catch((cause) => {
    throw refusedWrite(path, cause);
  });
}

async function nearest(path: string): Promise<string> {
  const found = await stat(path).catch(() => undefined);
  return found || dirname(path) === path ? path : nearest(dirname(path));
}
