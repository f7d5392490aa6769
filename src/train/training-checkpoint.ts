import { readdir, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { z } from 'zod';
import type { TextRead } from '../activations/activation-source.js';
import { type EveryKey, parseJson } from '../disk/json.js';
import { writtenAside } from '../disk/output-file.js';
import { Refusal } from '../errors/refusal.js';
import { type TrainingRecord, textRead, trainingRecord, type WrittenRecord } from '../sae/training-record.js';
import { floatTensor, readSafetensorsHeader, writeSafetensors } from '../safetensors/file.js';
import { firstNotFinite, readAllFloats } from '../safetensors/floats.js';
import type { TrainerState } from './engines/engine.js';
import { type Estimates, estimatesSchema } from './estimates.js';
import { type MetricSums, metricSums } from './metrics-log.js';
import { type Adjustment, adjustmentSchema } from './target-l0.js';

/** Checkpoints lie in the output directory, named by the steps done; they are removed when the SAE is finished. */
export const isCheckpoint = (name: string) => /^checkpoint-\d{8}\.safetensors$/.test(name);
const fileOf = (steps: number) => `checkpoint-${String(steps).padStart(8, '0')}.safetensors`;

const AGAIN = 'Remove it and resume from the one before, or train again with --overwrite.';

/** The text of a JSON value that fits a schema. */
const jsonText = <S extends z.ZodType>(schema: S) =>
  z
    .string()
    .transform((text, context) => {
      try {
        return parseJson(text);
      } catch (error) {
        context.addIssue({ code: 'custom', message: (error as Error).message });
        return z.NEVER;
      }
    })
    .pipe(schema);

const metadataSchema = z.object({
  steps: z.coerce.number().int().nonnegative(),
  rows: z.coerce.number().int().nonnegative(),
  settings: jsonText(trainingRecord),
  estimates: jsonText(estimatesSchema),
  metric_sums: jsonText(metricSums),
  resampled_at: jsonText(z.array(z.number().int().positive())),
  text: jsonText(textRead).optional(),
  adjustment: jsonText(adjustmentSchema).optional(),
  left_out: z.coerce.number().int().nonnegative().optional(),
});

/**
 * All that a run needs to go on as if it had never stopped. There is no state of a random generator in it: every random
 * choice is a function of the seed, what it is for, and when (random/generator.ts).
 */
interface TrainingCheckpoint {
  readonly steps: number;
  /** Rows dealt: where the data stand. */
  readonly rows: number;
  /** What must not change between a run and its continuation. */
  readonly settings: WrittenRecord;
  readonly estimates: Estimates;
  readonly metricSums: MetricSums;
  /** Steps after which features were resampled. */
  readonly resampledAt: readonly number[];
  /** Of a source that passes once, what was read of it. */
  readonly text?: TextRead;
  /** Of a run that adjusts λ. */
  readonly adjustment?: Adjustment;
  /** Of a run that leaves long rows out, how many it has. */
  readonly leftOut?: number;
  readonly state: TrainerState;
}

/** Writes a checkpoint, which appears whole or not at all, and removes all but the newest `keep`. */
export async function writeCheckpoint(
  directory: string,
  {
    steps,
    rows,
    settings,
    estimates,
    metricSums: sums,
    resampledAt,
    text,
    adjustment,
    leftOut,
    state,
  }: TrainingCheckpoint,
  shapes: ReadonlyMap<string, readonly number[]>,
  keep: number,
): Promise<void> {
  const tensors = [...state].map(([name, values]) => floatTensor(name, shapes.get(name) ?? [values.length], values));
  const metadata: EveryKey<z.input<typeof metadataSchema>> = {
    steps: String(steps),
    rows: String(rows),
    settings: JSON.stringify(settings),
    estimates: JSON.stringify(estimates),
    metric_sums: JSON.stringify(sums),
    resampled_at: JSON.stringify(resampledAt),
    text: text && JSON.stringify(text),
    adjustment: adjustment && JSON.stringify(adjustment),
    left_out: leftOut === undefined ? undefined : String(leftOut),
  };
  const texts = Object.entries(metadata).filter((entry): entry is [string, string] => entry[1] !== undefined);
  await writeSafetensors(join(directory, fileOf(steps)), tensors, Object.fromEntries(texts));
  for (const name of (await checkpointsOf(directory)).slice(keep)) await rm(join(directory, name), { force: true });
}

/** Names of the checkpoints in a directory, newest first. */
async function checkpointsOf(directory: string): Promise<string[]> {
  const names = await readdir(directory).catch((): string[] => []);
  return names.filter(isCheckpoint).sort().reverse();
}

/** Name of the newest checkpoint; undefined if there is none. */
export async function newestCheckpoint(directory: string): Promise<string | undefined> {
  return (await checkpointsOf(directory))[0];
}

/**
 * Removes the checkpoints of a finished SAE that are superfluous, and what a kill in the midst of writing one has left.
 *
 * @param keep steps of the one that stays, where one does
 */
export async function removeCheckpoints(directory: string, keep?: number): Promise<void> {
  const kept = keep === undefined ? undefined : fileOf(keep);
  for (const name of await readdir(directory)) {
    if (isCheckpoint(writtenAside(name) ?? name) && name !== kept) await rm(join(directory, name), { force: true });
  }
}

/** Are there steps of a run on disk that go beyond `steps`? */
export async function hasCheckpointBeyond(directory: string, steps: number): Promise<boolean> {
  const newest = await newestCheckpoint(directory);
  return newest !== undefined && newest > fileOf(steps);
}

/**
 * Reads the newest checkpoint of an output directory; undefined if there is none. One that a failing disk has
 * damaged is passed over for the one before.
 *
 * @param continued how the run continues after the settings and steps of a checkpoint; refuses settings that differ
 * @param shapes what a state of these settings consists of
 * @param say told of a checkpoint that was passed over
 * @throws Refusal when all are broken, or `continued` refuses
 */
export async function readCheckpoint<C>(
  directory: string,
  continued: (path: string, settings: TrainingRecord, steps: number) => C,
  shapes: ReadonlyMap<string, readonly number[]>,
  say: (line: string) => void,
): Promise<{ readonly checkpoint: TrainingCheckpoint; readonly course: C } | undefined> {
  const names = await checkpointsOf(directory);
  for (const [i, name] of names.entries()) {
    const path = join(directory, name);
    let checkpoint: TrainingCheckpoint;
    let course: () => C;
    try {
      [checkpoint, course] = await readWhole(path, continued, shapes);
    } catch (error) {
      if (!(error instanceof Refusal) || i === names.length - 1) throw error;
      say(`${error.message} Going on from ${names[i + 1]}.`);
      continue;
    }
    return { checkpoint, course: course() };
  }
  return undefined;
}

async function readWhole<C>(
  path: string,
  continued: (path: string, settings: TrainingRecord, steps: number) => C,
  shapes: ReadonlyMap<string, readonly number[]>,
): Promise<[TrainingCheckpoint, () => C]> {
  const { metadata } = await readSafetensorsHeader(path);
  const parsed = metadataSchema.safeParse(metadata);
  if (!parsed.success)
    throw new Refusal(`${path} is not a checkpoint of this program.`, AGAIN, 'train/foreign-checkpoint');
  const {
    steps,
    rows,
    settings,
    estimates,
    metric_sums,
    resampled_at,
    text,
    adjustment,
    left_out: leftOut,
  } = parsed.data;
  if (path !== join(dirname(path), fileOf(steps))) {
    throw new Refusal(`${path} is not the checkpoint of step ${steps}, as it says.`, AGAIN, 'train/broken-checkpoint');
  }
  const floats = await readAllFloats(path);
  for (const [name, { values }] of floats) {
    const at = firstNotFinite(values, 'float32');
    if (at >= 0) throw new Refusal(`${path} holds ${values[at]} in ${name}.`, AGAIN, 'train/broken-checkpoint');
  }
  const course = outcomeOf(() => continued(path, settings, steps));
  // Of a run of other settings they are others, and those are what is wrong.
  if ('value' in course) {
    for (const [name, shape] of shapes) {
      if (floats.get(name)?.shape.join() === shape.join()) continue;
      throw new Refusal(`${path} lacks ${name} of shape [${shape.join(', ')}].`, AGAIN, 'train/broken-checkpoint');
    }
  }
  const checkpoint = {
    ...{ steps, rows, settings, estimates, metricSums: metric_sums, resampledAt: resampled_at },
    ...{ text, adjustment, leftOut },
    state: new Map([...floats].map(([name, { values }]) => [name, values])),
  };
  return [
    checkpoint,
    () => {
      if ('error' in course) throw course.error;
      return course.value;
    },
  ];
}

function outcomeOf<T>(work: () => T): { readonly value: T } | { readonly error: unknown } {
  try {
    return { value: work() };
  } catch (error) {
    return { error };
  }
}

/** When a run's next checkpoint is due: `1000` steps or `10min` after the last; 0 is never. */
export class CheckpointClock {
  private readonly steps: number;
  private readonly milliseconds: number;
  private last: { step: number; time: number };

  /** @param every as --checkpoint-every has it */
  constructor(
    every: string,
    step: number,
    private readonly now: () => number = () => performance.now(),
  ) {
    const amount = Number.parseInt(every, 10) || Number.POSITIVE_INFINITY;
    const minutes = every.endsWith('min');
    this.steps = minutes ? Number.POSITIVE_INFINITY : amount;
    this.milliseconds = minutes ? amount * 60_000 : Number.POSITIVE_INFINITY;
    this.last = { step, time: now() };
  }

  /** The step of the last one, or where the run was opened. */
  get lastStep(): number {
    return this.last.step;
  }

  /** Is one due after `step` steps? */
  due(step: number): boolean {
    return step - this.last.step >= this.steps || this.now() - this.last.time >= this.milliseconds;
  }

  /** One was written after `step` steps. */
  written(step: number): void {
    this.last = { step, time: this.now() };
  }
}
