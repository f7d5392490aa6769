import { join } from 'node:path';
import { exists } from '../disk/exists.js';
import { CFG_FILE, openSae } from '../sae/saelens.js';
import { checkSameSettings, removeCheckpoints } from './checkpoint.js';
import { removeRunFile } from './run-file.js';

/**
 * Is `directory` the finished SAE of just these settings? Then resuming has nothing to do.
 *
 * @throws Refusal when it is the SAE of other settings, showing what differs
 */
export async function finishedBefore(directory: string, fixed: Readonly<Record<string, unknown>>): Promise<boolean> {
  const path = join(directory, CFG_FILE);
  if (!(await exists(path))) return false;
  const { metadata: found } = await openSae(directory);
  checkSameSettings(path, (found.sae_pipe ?? {}) as Record<string, unknown>, fixed);
  // A kill between writing the SAE and this leaves what was there while it was unfinished.
  await removeCheckpoints(directory);
  await removeRunFile(directory);
  return true;
}
