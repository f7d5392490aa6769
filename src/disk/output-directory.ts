import { mkdir, readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Refusal } from '../config/refusal.js';
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
 * Makes `path` ready to be written to. An existing output is refused unless it may be overwritten or resumed, and
 * overwriting deletes only files that the stage itself writes.
 *
 * @throws Refusal when there is something in the way
 */
export async function claimOutputDirectory(path: string, options: ClaimOptions): Promise<void> {
  const existing = await stat(path).catch(() => undefined);
  if (existing && !existing.isDirectory())
    throw new Refusal(`${path} is a file, not a directory.`, 'Choose another --out.');
  const names = existing ? await readdir(path) : [];
  if (names.length > 0 && !options.resume) {
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
    for (const name of names) await rm(join(path, name), { recursive: true });
  }
  await mkdir(path, { recursive: true }).catch((cause) => {
    throw refusedWrite(path, cause);
  });
}
