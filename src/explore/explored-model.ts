import { basename, dirname, join } from 'node:path';
import { exists } from '../disk/input-file.js';
import { Refusal } from '../errors/refusal.js';
import type { FeaturesOfSae, FeaturesRecord } from '../features/folder.js';
import { type Checkpoint, openCheckpoint } from '../lm/checkpoint.js';
import type { BosPolicy } from '../lm/family.js';
import type { Precision } from '../lm/placement.js';
import type { Device } from '../onnx/session.js';
import { silent } from '../progress/progress.js';
import { saeDirectory } from '../sae/published/open.js';

// Finds the model and the SAEs that a folder of features was collected from.

/** Settings for opening them. */
export interface ModelSettings {
  /** The model's directory. */
  readonly directory: string;
  /** The folder of features. */
  readonly folder: string;
  readonly record: FeaturesRecord;
  readonly device: Device;
  readonly precision: Precision | 'auto';
  readonly threads: number;
}

/** @throws Refusal if the model cannot be opened, or is not the one that the features were collected from */
export async function openExploredModel({ directory, record }: ModelSettings): Promise<Checkpoint> {
  const checkpoint = await openCheckpoint(directory);
  if (checkpoint.fingerprint === record.model.fingerprint) return checkpoint;
  throw new Refusal(
    `The features were collected from ${record.model.name}, but ${directory} is a different model.`,
    'Give --model the model of the features.',
    'explore/other-model',
  );
}

/** Whether texts begin with BOS: as in the text that the features were collected from. */
export const bosOf = ({ prepend_bos: bos }: FeaturesRecord): BosPolicy => (bos ? 'always' : 'never');

/**
 * Directory of an SAE: its original location, or next to the folder if both were moved together.
 *
 * @throws Refusal if it is at neither
 */
export async function directoryOfSae(settings: ModelSettings, { path, folder }: FeaturesOfSae): Promise<string> {
  const places = [path, join(dirname(settings.folder), basename(path))];
  const opened = (reference: string) => saeDirectory(reference, { offline: true }, silent, { signal: undefined });
  for (const place of places) if (await exists(place)) return opened(place);
  // A hub SAE, or one of a release, is in the caches.
  const cached = await opened(path).catch(() => undefined);
  if (cached !== undefined) return cached;
  throw new Refusal(
    `The SAE ${folder} is not at ${places.join(' nor at ')}.`,
    'Start explore where `sae-pipe features` was started, or put the SAE next to the folder of features.',
    'explore/sae-missing',
  );
}

/** @throws Refusal if an SAE's files are not those that its features were collected from */
export function checkSameSae(directory: string, digest: string, { sha256 }: FeaturesOfSae): void {
  if (digest === sha256) return;
  throw new Refusal(
    `${directory} is not the SAE that the features were collected from: its weights differ.`,
    'Collect the features again, or restore that SAE.',
    'explore/other-sae',
  );
}
