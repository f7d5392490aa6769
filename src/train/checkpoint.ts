import { readdir, rm } from 'node:fs/promises';
import { join } from 'node:path';
import { z } from 'zod';
import { firstNotFinite } from '../activations/finite.js';
import { Refusal } from '../config/refusal.js';
import { readSafetensorsHeader } from '../safetensors/header.js';
import { readAllFloats } from '../safetensors/read.js';
import { floatTensor, writeSafetensors } from '../safetensors/write.js';
import type { TrainerState } from './engines/engine.js';
import type { Estimates } from './estimates.js';
import type { MetricSums } from './metrics.js';

/** Checkpoints lie in the output directory, named by the steps done; they are removed when the SAE is finished. */
export const isCheckpoint = (name: string) => /^checkpoint-\d{8}\.safetensors$/.test(name);
const fileOf = (steps: number) => `checkpoint-${String(steps).padStart(8, '0')}.safetensors`;

const AGAIN = 'Train again with --overwrite, or into another --out.';

const metadataSchema = z.object({
  steps: z.coerce.number().int().nonnegative(),
  rows: z.coerce.number().int().nonnegative(),
  settings: z.string(),
  estimates: z.string(),
  metric_sums: z.string(),
});

/**
 * All that a run needs to go on as if it had never stopped. There is no state of a random generator in it: every random
 * choice is a function of the seed, what it is for, and when (random/generator.ts).
 */
export interface Checkpoint {
  readonly steps: number;
  /** Rows dealt: where the data stand. */
  readonly rows: number;
  /** What must not change between a run and its continuation. */
  readonly settings: Readonly<Record<string, unknown>>;
  readonly estimates: Estimates;
  readonly metricSums: MetricSums;
  readonly state: TrainerState;
}

/** Writes a checkpoint, which appears whole or not at all, and removes all but the newest `keep`. */
export async function writeCheckpoint(
  directory: string,
  { steps, rows, settings, estimates, metricSums, state }: Checkpoint,
  shapes: ReadonlyMap<string, readonly number[]>,
  keep: number,
): Promise<void> {
  const tensors = [...state].map(([name, values]) => floatTensor(name, shapes.get(name) ?? [values.length], values));
  await writeSafetensors(join(directory, fileOf(steps)), tensors, {
    steps: String(steps),
    rows: String(rows),
    settings: JSON.stringify(settings),
    estimates: JSON.stringify(estimates),
    metric_sums: JSON.stringify(metricSums),
  });
  for (const name of (await checkpointsOf(directory)).slice(keep)) await rm(join(directory, name), { force: true });
}

/** Names of the checkpoints in a directory, newest first. */
async function checkpointsOf(directory: string): Promise<string[]> {
  const names = await readdir(directory).catch((): string[] => []);
  return names.filter(isCheckpoint).sort().reverse();
}

/** Name of the newest checkpoint; undefined where there is none. */
export async function newestCheckpoint(directory: string): Promise<string | undefined> {
  return (await checkpointsOf(directory))[0];
}

/** Removes every checkpoint, and what a kill in the midst of writing one has left: the SAE is finished. */
export async function removeCheckpoints(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    if (isCheckpoint(name.replace(/\.tmp$/, ''))) await rm(join(directory, name), { force: true });
  }
}

/** @throws Refusal showing what differs */
export function checkSameSettings(
  path: string,
  before: Readonly<Record<string, unknown>>,
  settings: Readonly<Record<string, unknown>>,
): void {
  const differences = Object.keys(settings).flatMap((key) => {
    const [then, now] = [JSON.stringify(before[key]), JSON.stringify(settings[key])];
    return then === now ? [] : [`${key} = ${then}, and this command says ${now}`];
  });
  if (differences.length === 0) return;
  throw new Refusal(
    `${path} was written with ${differences.join('; ')}.`,
    'A run keeps its settings: resume with the same, or train anew with others, into another --out or with --overwrite.',
  );
}

/**
 * Reads the newest checkpoint of an output directory; undefined where there is none. One that a failing disk has
 * damaged is passed over for the one before.
 *
 * @param say told of a checkpoint that was passed over
 * @throws Refusal when all are broken, or `settings` differ from those it was written with
 */
export async function readCheckpoint(
  directory: string,
  settings: Readonly<Record<string, unknown>>,
  say: (line: string) => void,
): Promise<Checkpoint | undefined> {
  const names = await checkpointsOf(directory);
  for (const [i, name] of names.entries()) {
    const path = join(directory, name);
    let checkpoint: Checkpoint;
    try {
      checkpoint = await readWhole(path);
    } catch (error) {
      if (!(error instanceof Refusal) || i === names.length - 1) throw error;
      say(`${error.message} Going on from ${names[i + 1]}.`);
      continue;
    }
    checkSameSettings(path, checkpoint.settings, settings);
    return checkpoint;
  }
  return undefined;
}

async function readWhole(path: string): Promise<Checkpoint> {
  const { metadata } = await readSafetensorsHeader(path);
  const parsed = metadataSchema.safeParse(metadata);
  if (!parsed.success) throw new Refusal(`${path} is not a checkpoint of this program.`, AGAIN);
  const { steps, rows, settings, estimates, metric_sums } = parsed.data;
  const floats = await readAllFloats(path);
  for (const [name, { values }] of floats) {
    const at = firstNotFinite(values, 'float32');
    if (at >= 0) throw new Refusal(`${path} holds ${values[at]} in ${name}.`, AGAIN);
  }
  return {
    steps,
    rows,
    settings: JSON.parse(settings) as Record<string, unknown>,
    estimates: JSON.parse(estimates) as Estimates,
    metricSums: JSON.parse(metric_sums) as MetricSums,
    state: new Map([...floats].map(([name, { values }]) => [name, values])),
  };
}
