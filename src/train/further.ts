import { z } from 'zod';
import type { SourceDescription } from '../activations/source.js';
import { Refusal } from '../config/refusal.js';
import { activationDTypes, type TrainConfig } from '../config/stages.js';
import { checkSameSettings } from './checkpoint.js';
import { fixedSettings, stepsOf } from './run-settings.js';
import { checkSchedule, planned, type Schedule } from './schedule.js';

/** A command that trained a run further: from which step, and how many steps the run was to have before. */
export interface Leg {
  readonly from: number;
  readonly of: number;
}

const legsSchema = z.array(z.object({ from: z.number(), of: z.number() })).catch([]);

/** What decides a run's result. */
export interface Course {
  readonly plan: Schedule;
  readonly fixed: Readonly<Record<string, unknown>>;
}

function courseOf(
  config: TrainConfig,
  about: SourceDescription,
  initSha256: string | undefined,
  steps: number,
  legs: readonly Leg[],
): Course {
  // The warm-up is over, and stays what it was.
  const plan = planned(config, steps, legs[0]?.of);
  return {
    plan,
    fixed: { ...fixedSettings(config, about, plan, initSha256), ...(legs.length > 0 ? { trained_further: legs } : {}) },
  };
}

/** The course of a run that begins. */
export function newCourse(config: TrainConfig, about: SourceDescription, initSha256: string | undefined): Course {
  const steps = stepsOf(config, about);
  checkSchedule(config, steps);
  return courseOf(config, about, initSha256, steps, []);
}

/**
 * The course of a run that was begun before with `found` settings, and has done `done` steps. Where this command asks for
 * more steps than the run was to have, it is trained further: the steps that were made stay as they are, and from there
 * on learning rate and λ are those of a run of that many steps with the warm-up that it had.
 *
 * @param path where the settings were found
 * @throws Refusal showing what differs otherwise
 */
export function continuedCourse(
  path: string,
  found: Readonly<Record<string, unknown>>,
  done: number,
  config: TrainConfig,
  about: SourceDescription,
  initSha256: string | undefined,
): Course {
  const wanted = stepsOf(config, about);
  const before = typeof found.steps === 'number' ? found.steps : wanted;
  const legs = legsSchema.parse(found.trained_further);
  const same = courseOf(config, about, initSha256, before, legs);
  // The same SAE may lie elsewhere by now.
  const moved = initSha256 !== undefined && initSha256 === found.init_sha256 ? { init: found.init } : {};
  const further = wanted > before;
  if (further && isMade(config) && !sameActivations(found, same.fixed)) {
    throw new Refusal(
      `${path} is of a run on activations that were planned for ${before} steps: a stream or --model can be trained further only within what it brings.`,
      'Harvest a store to train further, or start a new run from its weights with --init.',
    );
  }
  checkSameSettings(path, found, { ...same.fixed, ...moved });
  if (wanted === before) return same;
  if (!further) {
    throw new Refusal(
      `${path} is of a run of ${before} steps, and this command says ${wanted}.`,
      'Leave --steps and --tokens out to resume the run, or give more to train it further.',
    );
  }
  checkSchedule(config, wanted, legs[0]?.of ?? before);
  return courseOf(config, about, initSha256, wanted, [...legs, { from: done, of: before }]);
}

/** Are activations made while training, so that their order depends on how many are asked for? */
const isMade = ({ activations }: TrainConfig) => activations === undefined || activations === '-';

const sameActivations = (a: Readonly<Record<string, unknown>>, b: Readonly<Record<string, unknown>>) =>
  JSON.stringify(a.activations) === JSON.stringify(b.activations);

const activationsSchema = z.object({
  ...{ model: z.string(), hook: z.string(), rows: z.number(), corpus: z.string(), sha256: z.string() },
  dtype: z.enum(activationDTypes),
});

/**
 * The source that a run's settings record, as far as they do.
 *
 * @throws Refusal where they record none
 */
export function recordedSource(found: Readonly<Record<string, unknown>>): SourceDescription {
  const parsed = activationsSchema.safeParse(found.activations);
  if (!parsed.success) {
    throw new Refusal('The SAE in --out was not trained here.', 'Use --init to start a new run from it.');
  }
  const { model, sha256, ...about } = parsed.data;
  const unknown = { place: 'the activations of the run', dIn: 0, context: 0, meanNorm: null };
  return { ...about, ...unknown, model: { name: '', fingerprint: model }, identity: sha256 };
}
