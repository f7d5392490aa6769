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

/** Checkpoints are in the output directory, named by the steps done; they are removed when the SAE is finished. */
export const isCheckpoint = (name: string) => /^checkpoint-\d{8}\.safetensors$/.test(name);
const fileOf = (steps: number) => `checkpoint-${String(steps).padStart(8, '0')}.safetensors`;

const AGAIN = 'Remove it and resume from the one before, or train again with --overwrite.';

/** JSON text that is valid for a schema. */
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
 * Everything that a run needs to resume as if it had never stopped. It contains no state of a random generator: every
 * random choice is a function of the seed, its purpose and its step (random/generator.ts).
 */
interface TrainingCheckpoint {
  readonly steps: number;
  /** Rows dealt: the position in the data. */
  readonly rows: number;
  /** Settings that must not change when a run is resumed. */
  readonly settings: WrittenRecord;
  readonly estimates: Estimates;
  readonly metricSums: MetricSums;
  /** Steps after which features were resampled. */
  readonly resampledAt: readonly number[];
  /** For a source that can be read only once, what was read of it. */
  readonly text?: TextRead;
  /** For a run that adjusts λ. */
  readonly adjustment?: Adjustment;
  /** For a run that leaves long rows out, their number so far. */
  readonly leftOut?: number;
  readonly state: TrainerState;
}

/** Writes a checkpoint atomically, and removes all but the newest `keep`. */
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

/** The step from which a run that stopped resumes; undefined if it has no checkpoint. */
export async function resumedStep(directory: string): Promise<number | undefined> {
  const name = await newestCheckpoint(directory);
  return name === undefined ? undefined : Number(/\d+/.exec(name)![0]);
}

/**
 * Removes superfluous checkpoints of a finished SAE, and the leftovers of a kill while one was written.
 *
 * @param keep steps of the one to keep, if any
 */
export async function removeCheckpoints(directory: string, keep?: number): Promise<void> {
  const kept = keep === undefined ? undefined : fileOf(keep);
  for (const name of await readdir(directory)) {
    if (isCheckpoint(writtenAside(name) ?? name) && name !== kept) await rm(join(directory, name), { force: true });
  }
}

/** Does the disk have steps of a run beyond `steps`? */
export async function hasCheckpointBeyond(directory: string, steps: number): Promise<boolean> {
  const newest = await newestCheckpoint(directory);
  return newest !== undefined && newest > fileOf(steps);
}

/**
 * Reads the newest checkpoint of an output directory; undefined if there is none. A damaged one is skipped in favour of
 * the previous one.
 *
 * @param continued the run's continuation, given a checkpoint's settings and steps; refuses differing settings
 * @param shapes the contents of a state with these settings
 * @param say told about a checkpoint that was skipped
 * @throws Refusal if all are damaged, or `continued` refuses
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
      say(`${error.message} Resuming from ${names[i + 1]} instead.`);
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
  if (!parsed.success) throw new Refusal(`${path} is not a checkpoint of sae-pipe.`, AGAIN, 'train/foreign-checkpoint');
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
    throw new Refusal(
      `${path} claims to be the checkpoint of step ${steps}, but is not.`,
      AGAIN,
      'train/broken-checkpoint',
    );
  }
  const floats = await readAllFloats(path);
  for (const [name, { values }] of floats) {
    const at = firstNotFinite(values, 'float32');
    if (at >= 0) throw new Refusal(`${path} contains ${values[at]} in ${name}.`, AGAIN, 'train/broken-checkpoint');
  }
  const course = outcomeOf(() => continued(path, settings, steps));
  // For a run with other settings these would differ, and the settings are then the problem.
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

/** When a run's next checkpoint is due: `1000` steps or `10min` after the last; 0 for never. */
export class CheckpointClock {
  private readonly steps: number;
  private readonly milliseconds: number;
  private last: { step: number; time: number };

  /** @param every value of --checkpoint-every */
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

  /** The step of the last checkpoint, or where the run was opened. */
  get lastStep(): number {
    return this.last.step;
  }

  /** Is one due after `step` steps? */
  due(step: number): boolean {
    return step - this.last.step >= this.steps || this.now() - this.last.time >= this.milliseconds;
  }

  /** Records that one was written after `step` steps. */
  written(step: number): void {
    this.last = { step, time: this.now() };
  }
}
