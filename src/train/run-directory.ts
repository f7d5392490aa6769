import { join } from 'node:path';
import { RUN_FILE, removeRunFile } from '../config/run-file.js';
import type { TrainConfig } from '../config/stages/train.js';
import { exists } from '../disk/input-file.js';
import { requireStillOwner } from '../disk/lock.js';
import { type ClaimOptions, removeHalfWritten } from '../disk/output-directory.js';
import { Refusal } from '../errors/refusal.js';
import type { Sizes } from '../sae/sae.js';
import { CFG_FILE, openSae, WEIGHTS_FILE } from '../sae/saelens.js';
import { METRICS_FILE } from '../sae/training-curve.js';
import { type TrainingRecord, trainingRecordOf } from '../sae/training-record.js';
import { isEventFile } from '../tensorboard/event-log.js';
import { endCurve } from './metrics-log.js';
import { hasCheckpointBeyond, isCheckpoint, removeCheckpoints } from './training-checkpoint.js';

const FILES = [CFG_FILE, WEIGHTS_FILE, METRICS_FILE, RUN_FILE];

/** Is this a file name that a run's directory may contain? */
const isRunFile = (name: string) => FILES.includes(name) || isCheckpoint(name) || isEventFile(name);

/** The files that a run's directory may contain, and how it is claimed. */
export function claimOptions(config: TrainConfig, say: (line: string) => void = () => {}): ClaimOptions {
  const { overwrite, resume, activations, target, init, model, corpus } = config;
  const takeOver = { unchecked: config.takeOver, say };
  const inputs = [activations, target, init, model, ...(corpus ?? [])];
  return { overwrite, resume, ours: isRunFile, resumeFlag: '--resume', result: CFG_FILE, inputs, takeOver };
}

/** Message about what a stop leaves of a run. */
export function kept(steps: number, wanted: number, out: string): string {
  return `step ${steps} of ${wanted} is saved in ${out}; rerun the same command with --resume to continue.`;
}

/** The settings of a finished SAE. */
export interface Finished extends Pick<Sizes, 'dIn' | 'dOut'> {
  /** Its cfg.json. */
  readonly path: string;
  readonly settings: TrainingRecord;
  /** Number of training steps; NaN if it was not trained here. */
  readonly steps: number;
}

/** The settings of the SAE in `directory`; undefined if there is none. */
export async function finishedIn(directory: string): Promise<Finished | undefined> {
  const path = join(directory, CFG_FILE);
  if (!(await exists(path))) return undefined;
  const { cfg, dIn, dOut } = await openSae(directory, 'transcoder');
  const settings = trainingRecordOf(cfg);
  return { path, settings, dIn, dOut, steps: settings.steps ?? Number.NaN };
}

/**
 * Removes what is superfluous next to a finished SAE: everything except the state for training it further, and with
 * --discard-state that too. A kill before the end leaves such files, as well as curve lines if it came before the first
 * checkpoint of a run being trained further. A run with such a checkpoint keeps everything.
 */
export async function tidyFinished(
  { out, discardState }: Pick<TrainConfig, 'out' | 'discardState'>,
  steps: number,
): Promise<void> {
  await requireStillOwner(out);
  await removeHalfWritten(out, isRunFile);
  if (await hasCheckpointBeyond(out, steps)) return;
  await endCurve(out, steps);
  await removeCheckpoints(out, discardState ? undefined : steps);
  if (discardState) await removeRunFile(out);
}

/** The error for training a finished SAE further without its state. */
export function stateNotKept(directory: string, steps: number): Refusal {
  return new Refusal(
    `${directory} was trained for ${steps} steps, but its state (Adam's moments), needed to train it further, was not kept.`,
    `Start a new run from its weights with --init ${directory}, or train again without --discard-state.`,
    'train/state-discarded',
  );
}
