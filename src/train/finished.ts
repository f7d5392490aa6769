import { join } from 'node:path';
import type { Batches } from '../activations/source.js';
import { exists } from '../disk/exists.js';
import { CFG_FILE, openSae } from '../sae/saelens.js';
import { checkSameSettings, removeCheckpoints, textSchema } from './checkpoint.js';
import { removeRunFile } from './run-file.js';

/**
 * Is `directory` the finished SAE of just these settings? Then resuming has nothing to do.
 *
 * @param batches told of the text that it was trained on, should they be read all the same
 * @throws Refusal when it is the SAE of other settings, showing what differs
 */
export async function finishedBefore(
  directory: string,
  fixed: Readonly<Record<string, unknown>>,
  batches: Batches,
): Promise<boolean> {
  const path = join(directory, CFG_FILE);
  if (!(await exists(path))) return false;
  const { metadata: found } = await openSae(directory);
  const recorded = (found.sae_pipe ?? {}) as Record<string, unknown>;
  checkSameSettings(path, recorded, fixed);
  const text = textSchema.safeParse(recorded.text);
  if (text.success) batches.expectText?.(text.data);
  // A kill between writing the SAE and this leaves what was there while it was unfinished.
  await removeCheckpoints(directory);
  await removeRunFile(directory);
  return true;
}
