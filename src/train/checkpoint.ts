import { join } from 'node:path';
import { z } from 'zod';
import { Refusal } from '../config/refusal.js';
import { exists } from '../disk/exists.js';
import { readSafetensorsHeader } from '../safetensors/header.js';
import { readAllFloats } from '../safetensors/read.js';
import { floatTensor, writeSafetensors } from '../safetensors/write.js';
import type { TrainerState } from './engines/engine.js';
import type { MetricSums } from './metrics.js';

/** Name of the checkpoint in the output directory; removed when the SAE is finished. */
export const CHECKPOINT_FILE = 'trainer_state.safetensors';

const metadataSchema = z.object({
  steps: z.coerce.number().int().nonnegative(),
  settings: z.string(),
  metric_sums: z.string(),
});

export interface Checkpoint {
  /** Steps done; with the batch size and the seed it also tells where the data stand. */
  readonly steps: number;
  /** What must not change between a run and its continuation, as JSON. */
  readonly settings: string;
  readonly metricSums: MetricSums;
  readonly state: TrainerState;
}

/** Writes the checkpoint; it appears whole or not at all. */
export function writeCheckpoint(
  directory: string,
  { steps, settings, metricSums, state }: Checkpoint,
  shapes: ReadonlyMap<string, readonly number[]>,
): Promise<void> {
  const tensors = [...state].map(([name, values]) => floatTensor(name, shapes.get(name) ?? [values.length], values));
  const metadata = { steps: String(steps), settings, metric_sums: JSON.stringify(metricSums) };
  return writeSafetensors(join(directory, CHECKPOINT_FILE), tensors, metadata);
}

/** @throws Refusal showing the first setting that differs */
export function checkSameSettings(
  path: string,
  before: Readonly<Record<string, unknown>>,
  settings: Readonly<Record<string, unknown>>,
): void {
  for (const key of Object.keys(settings)) {
    const [then, now] = [JSON.stringify(before[key]), JSON.stringify(settings[key])];
    if (then === now) continue;
    throw new Refusal(
      `${path} was written with ${key} = ${then}, and this command says ${now}.`,
      'Resume with the same settings, or train into another --out.',
    );
  }
}

/**
 * Reads the checkpoint of an output directory; undefined where there is none.
 *
 * @throws Refusal when it is broken, or `settings` differ from those it was written with
 */
export async function readCheckpoint(
  directory: string,
  settings: Readonly<Record<string, unknown>>,
): Promise<Checkpoint | undefined> {
  const path = join(directory, CHECKPOINT_FILE);
  if (!(await exists(path))) return undefined;
  const { metadata } = await readSafetensorsHeader(path);
  const parsed = metadataSchema.safeParse(metadata);
  if (!parsed.success) throw new Refusal(`${path} is not a checkpoint of this program.`);
  checkSameSettings(path, JSON.parse(parsed.data.settings) as Record<string, unknown>, settings);
  const floats = await readAllFloats(path);
  return {
    steps: parsed.data.steps,
    settings: parsed.data.settings,
    metricSums: JSON.parse(parsed.data.metric_sums) as MetricSums,
    state: new Map([...floats].map(([name, { values }]) => [name, values])),
  };
}
