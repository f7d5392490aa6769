import { z } from 'zod';
import type { Order, SourceDescription, TextRead } from '../activations/activation-source.js';
import { flagName } from '../config/flags.js';
import { type TrainConfig, USUAL_L1 } from '../config/stages.js';
import { activationDTypes } from '../config/values.js';
import { Refusal, UsageRefusal } from '../errors/refusal.js';
import { architectureFlags, trainable, trainingOf } from '../sae/registry.js';
import { type Sizes, square } from '../sae/sae.js';
import type { MetricsLine } from '../sae/training-curve.js';
import type { EngineSettings } from './engines/engine.js';
import type { Estimates } from './estimates.js';
import { checkSchedule, planned, type Schedule, type SparsityCoefficient } from './schedule.js';
import { checkSameSettings } from './training-checkpoint.js';

/** Optimiser steps of the run. */
export function stepsOf(config: TrainConfig, about: Pick<SourceDescription, 'rows'>): number {
  if (config.steps !== undefined && config.tokens !== undefined) {
    throw new UsageRefusal('--steps and --tokens exclude each other.', 'Give one of them.', 'train/steps-and-tokens');
  }
  if (config.steps !== undefined) return config.steps;
  const tokens = config.tokens ?? about.rows;
  const steps = Math.floor(tokens / config.batch);
  if (steps === 0) {
    throw new UsageRefusal(
      `${tokens} activations do not fill a batch of ${config.batch}.`,
      'Use a smaller --batch or more activations.',
      'train/no-batch',
    );
  }
  return steps;
}

/** Factor on the activations while training: s = √d_in / E|x|, or 1. */
export function activationScale(config: TrainConfig, { dIn }: SourceDescription, { meanNorm }: Estimates): number {
  return config.normalize === 'mean-norm' ? Math.sqrt(dIn) / meanNorm : 1;
}

/** What the engine needs to know. */
export function engineSettings(
  config: TrainConfig,
  about: Pick<SourceDescription, 'dIn' | 'dtype'>,
  scale: number,
): EngineSettings {
  return {
    ...architectureSettings(config, square(about.dIn, config.dSae)),
    dIn: about.dIn,
    dSae: config.dSae,
    batch: config.batch,
    batchDType: about.dtype === 'float16' ? 'float16' : 'float32',
    scale,
    beta1: config.beta1,
    beta2: config.beta2,
    deadWindow: config.deadWindow,
    device: config.device,
    threads: config.threads,
    precision: config.enginePrecision,
  };
}

/** What decides the result: a run may only be continued with the same, and cfg.json records it. */
export function fixedSettings(
  config: TrainConfig,
  about: SourceDescription,
  plan: Schedule,
  initSha256: string | undefined,
): Record<string, unknown> {
  const { model, hook, rows, corpus, dtype, identity } = about;
  const { options, trained } = architectureSettings(config, square(about.dIn, config.dSae));
  return {
    arch: config.arch,
    ...recordedFlags(config, options),
    // Null: all that its architecture and flags train.
    train: config.train ? trained : null,
    d_sae: config.dSae,
    l1: trainingOf(config.arch).penalised ? (config.l1 ?? USUAL_L1) : null,
    l1_convention: config.l1Convention,
    l2_normalise: config.l2Normalise,
    l1_warmup: config.l1Warmup,
    steps: plan.steps,
    batch: config.batch,
    lr: config.lr,
    warmup: plan.warmup,
    lr_decay: config.lrDecay,
    decay_steps: plan.decaySteps,
    lr_end: config.lrEnd,
    resample_at: config.resampleAt,
    resample_inputs: config.resampleInputs,
    resample_warmup: config.resampleWarmup,
    beta1: config.beta1,
    beta2: config.beta2,
    seed: config.seed,
    init: config.init ?? null,
    // Its content: another SAE at the same place is another start.
    ...(initSha256 !== undefined && { init_sha256: initSha256 }),
    b_dec_init: config.bDecInit,
    normalize: config.normalize,
    order: config.order satisfies Order,
    pool_rows: config.poolRows,
    dead_window: config.deadWindow,
    log_every: config.logEvery,
    activations: { model: model.fingerprint, hook, rows, corpus, dtype, sha256: identity },
  };
}

/** What cfg.json says beside the shapes. */
export function metadata(
  about: SourceDescription,
  fixed: Readonly<Record<string, unknown>>,
  settings: EngineSettings,
  steps: number,
  lambda: SparsityCoefficient,
  last: MetricsLine | undefined,
  text?: TextRead,
) {
  const { tokens_per_second: _, ...final } = last ?? ({} as Partial<MetricsLine>);
  return {
    model_name: about.model.name,
    model_fingerprint: about.model.fingerprint,
    hook_name: about.hook,
    hook_head_index: null,
    context_size: about.context,
    prepend_bos: true,
    ...(about.excludedTokens && { exclude_special_tokens: about.excludedTokens }),
    sae_pipe: {
      ...fixed,
      tokens: steps * settings.batch,
      activation_scale: settings.scale,
      // λ beside sums of squared errors of scaled activations, whatever convention l1 is in.
      lambda: trainingOf(settings.architecture).penalised ? lambda.value : null,
      // Of a source that passes once: the text that it was trained on.
      ...(text && { text }),
      final,
    },
  };
}

/** Flags that weigh the sparsity penalty, with the values that they have when they are not given. */
const OF_PENALTY = { l1: undefined, l1Convention: 'sums', l2Normalise: false, l1Warmup: 0 } as const;

/** Is it said, other than by a default? */
const given = (value: unknown, usual: unknown) =>
  JSON.stringify(value) !== JSON.stringify(usual) && JSON.stringify(value) !== '[]';

/** @throws UsageRefusal where a flag is given that does not belong to --arch */
function checkFlagsOf({ arch, ...flags }: Pick<TrainConfig, 'arch'> & Readonly<Record<string, unknown>>): void {
  const { flags: own, penalised } = trainingOf(arch);
  for (const other of trainable) {
    for (const [key, schema] of Object.entries(trainingOf(other).flags)) {
      if (key in own || !given(flags[key], (schema as z.ZodType).parse(undefined))) continue;
      throw new UsageRefusal(
        `--${flagName(key)} is for --arch ${other}, and --arch is ${arch}.`,
        `Leave --${flagName(key)} out.`,
        'train/foreign-flag',
      );
    }
  }
  for (const [key, usual] of Object.entries(penalised ? {} : OF_PENALTY)) {
    if (!given(flags[key] ?? usual, usual)) continue;
    throw new UsageRefusal(
      `--${flagName(key)} is about a sparsity penalty, and the loss of --arch ${arch} has none.`,
      `Leave --${flagName(key)} out.`,
      'train/foreign-flag',
    );
  }
}

/**
 * What --arch, its own flags and --train mean to an engine.
 *
 * @throws UsageRefusal where they contradict each other, or a flag belongs to another architecture
 */
export function architectureSettings(
  config: Pick<TrainConfig, 'arch' | 'train'>,
  sizes: Sizes,
): Required<Pick<EngineSettings, 'architecture' | 'options' | 'trained'>> {
  const { arch, train } = config;
  checkFlagsOf(config);
  const chosen = trainingOf(arch);
  const options = chosen.options(config, sizes);
  const architecture = chosen.variant?.(options) ?? arch;
  const names = trainingOf(architecture).trains(options);
  const foreign = train?.find((name) => !names.includes(name));
  if (foreign !== undefined) {
    throw new UsageRefusal(
      `--train ${foreign} is nothing that this SAE trains.`,
      `It trains ${names.join(', ')}.`,
      'train/unknown-parameter',
    );
  }
  return { architecture, options, trained: train ? names.filter((name) => train.includes(name)) : names };
}

/** The flags of all architectures as a run records them: its own as they were understood, others as they were given. */
function recordedFlags(config: TrainConfig, options: unknown): Record<string, unknown> {
  const values: Readonly<Record<string, unknown>> = { ...config, ...(options as object) };
  return Object.fromEntries(
    Object.keys(architectureFlags).flatMap((key) => {
      const value = values[key] ?? (architectureFlags[key] as z.ZodType).safeParse([]).data;
      return value === undefined ? [] : [[flagName(key).replaceAll('-', '_'), value]];
    }),
  );
}

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
      'train/fixed-length',
    );
  }
  checkSameSettings(path, found, { ...same.fixed, ...moved });
  if (wanted === before) return same;
  if (!further) {
    throw new Refusal(
      `${path} is of a run of ${before} steps, and this command says ${wanted}.`,
      'Leave --steps and --tokens out to resume the run, or give more to train it further.',
      'train/fewer-steps',
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
export function recordedSource(found: Readonly<Record<string, unknown>>, dIn: number): SourceDescription {
  const parsed = activationsSchema.safeParse(found.activations);
  if (!parsed.success) {
    throw new Refusal(
      'The SAE in --out was not trained here.',
      'Use --init to start a new run from it.',
      'train/not-trained-here',
    );
  }
  const { model, sha256, ...about } = parsed.data;
  const unknown = { place: 'the activations of the run', dIn, context: 0, meanNorm: null };
  return { ...about, ...unknown, model: { name: '', fingerprint: model }, identity: sha256 };
}
