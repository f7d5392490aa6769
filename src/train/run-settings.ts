import type { z } from 'zod';
import type { SourceDescription, TextRead } from '../activations/activation-source.js';
import type { RowShape } from '../activations/pool.js';
import { flagName, recordName } from '../config/flags.js';
import { BEFORE_RECORDS, RECORDED_FLAGS } from '../config/run-file.js';
import { USUAL_L1 } from '../config/stages/shared-flags.js';
import type { TrainConfig } from '../config/stages/train.js';
import { activationDTypes } from '../config/values.js';
import { Refusal, UsageRefusal } from '../errors/refusal.js';
import { ARCHITECTURES, architectureFlags, trainable, trainingOf } from '../sae/registry.js';
import type { Sizes } from '../sae/sae.js';
import type { WrittenMetadata } from '../sae/saelens.js';
import type { MetricsLine } from '../sae/training-curve.js';
import type { TrainingRecord, WrittenRecord, WrittenResults } from '../sae/training-record.js';
import { normalizationOf } from './coordinates.js';
import { type EngineSettings, type Factors, sizesOf } from './engines/engine.js';
import { type Estimates, scaleOf, unitScale } from './estimates.js';
import {
  checkSchedule,
  NO_PENALTY,
  planned,
  type Schedule,
  type SparsityCoefficient,
  sparsityCoefficient,
} from './schedule.js';
import { checkSubspace } from './subspace.js';
import { type Adjustment, adjustment, type TargetL0 } from './target-l0.js';

/** Number of optimiser steps of the run. */
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

type ActivationScales = Pick<EngineSettings, 'scale' | 'scaleOut'>;

/**
 * Factors during training: √d_in / E|x| on the input, √d_out / E|y| on a target that is not the input; 1 / √E|x|² and 1
 * / √E|y|²; or 1.
 */
export function activationScales(
  config: TrainConfig,
  { dIn, target }: SourceDescription,
  { meanNorm, meanNormOut, square, squareOut }: Estimates,
): ActivationScales {
  const normalize = normalizationOf(config);
  if (normalize === 'unit-square') {
    return { scale: unitScale(square!), ...(target && { scaleOut: unitScale(squareOut!) }) };
  }
  const scaled = normalize === 'mean-norm';
  return {
    scale: scaled ? scaleOf(meanNorm, dIn) : 1,
    ...(target && { scaleOut: scaled ? scaleOf(meanNormOut!, target.dOut) : 1 }),
  };
}

/**
 * --l1, or its default; undefined without a penalty.
 *
 * @throws UsageRefusal if it is not given, and the default does not apply to the activations' scale
 */
export function usualL1(
  { arch, l1, normalize }: Pick<TrainConfig, 'arch' | 'l1' | 'normalize'>,
  options: unknown,
): number | undefined {
  const { penalised, usualL1: usual } = trainingOf(arch);
  if (!penalised) return undefined;
  if (l1 === undefined && normalize === 'unit-square') {
    throw new UsageRefusal(
      '--normalize unit-square needs --l1: the default λ is for activations with a mean norm of √d_in.',
      'Add --l1, or use --normalize mean-norm.',
      'train/no-usual-l1',
    );
  }
  return l1 ?? usual?.(options) ?? USUAL_L1;
}

/** λ in the engine's convention. */
export function lambdaOf(
  config: TrainConfig,
  { dIn, dOut, scale, scaleOut, options }: EngineSettings,
  { meanSquare, factors }: Estimates,
): SparsityCoefficient {
  const { penaltyScales: scales } = trainingOf(config.arch);
  const l1 = usualL1(config, options);
  if (l1 === undefined) return NO_PENALTY;
  const target = dOut !== undefined;
  return sparsityCoefficient(
    { ...config, l1 },
    { width: dOut ?? dIn, scale: scaleOut ?? scale, meanSquare, target, scales, perDimension: factors !== undefined },
  );
}

/** @throws UsageRefusal if flags contradict each other, independently of the activations */
export function checkFlags(config: TrainConfig): void {
  checkTarget(config);
  checkCoordinates(config);
  checkSubspace(config);
}

/** @throws UsageRefusal if --skip is given without a target */
function checkTarget({ target, hookOut, skip }: Pick<TrainConfig, 'target' | 'hookOut' | 'skip'>): void {
  if (!skip || target !== undefined || hookOut !== undefined) return;
  throw new UsageRefusal(
    '--skip requires a transcoder, but this run reconstructs its input.',
    'Omit --skip, or give a --target.',
    'train/target',
  );
}

/** @throws UsageRefusal if --normalize per-dimension cannot be combined with other flags */
function checkCoordinates({ normalize, init, l1Convention }: TrainConfig): void {
  if (normalize !== 'per-dimension') return;
  if (init !== undefined) {
    throw new UsageRefusal(
      '--init starts from an SAE of raw activations, but --normalize per-dimension rescales them.',
      'Omit --init, or train with --normalize mean-norm.',
      'train/coordinates',
    );
  }
  if (l1Convention === 'paper') {
    throw new UsageRefusal(
      'λ of --l1-convention paper is for raw activations, but --normalize per-dimension rescales them.',
      'Give --l1 for sums (--l1-convention sums), or --l0.',
      'train/coordinates',
    );
  }
}

/**
 * Adjusts λ to --l0; undefined without it.
 *
 * @param before state from a checkpoint
 * @throws UsageRefusal if λ cannot be adjusted
 */
export function adjustmentOf(
  config: TrainConfig,
  { options }: Pick<EngineSettings, 'options'>,
  plan: Schedule,
  lambda: SparsityCoefficient,
  before?: Adjustment,
): TargetL0 | undefined {
  if (config.l0 === undefined) return undefined;
  const l0 = config.l0 * (trainingOf(config.arch).adjustsTo?.(options) ?? 1);
  return adjustment({ ...config, l0, l1Warmup: plan.l1Warmup }, plan, lambda, before);
}

/** Settings for the engine. */
export function engineSettings(
  config: TrainConfig,
  about: RowShape,
  scales: ActivationScales = { scale: 1 },
  factors?: Factors,
): EngineSettings {
  const { dIn, target } = about;
  return {
    ...architectureSettings(config, sizesOf({ dIn, dOut: target?.dOut, dSae: config.dSae })),
    dIn,
    ...(target && { dOut: target.dOut }),
    dSae: config.dSae,
    ...(config.skip && { skip: true }),
    batch: config.batch,
    batchDType: about.dtype,
    ...scales,
    ...(factors && { factors }),
    beta1: config.beta1,
    beta2: config.beta2,
    ...(config.clipGradNorm !== undefined && { clipGradNorm: config.clipGradNorm }),
    deadWindow: config.deadWindow,
    device: config.device,
    threads: config.threads,
    precision: config.enginePrecision,
  };
}

/** The settings that determine the result: a resumed run must have the same, and cfg.json records them. */
function fixedSettings(
  config: TrainConfig,
  about: SourceDescription,
  plan: Schedule,
  initSha256: string | undefined,
): WrittenRecord {
  const { model, hook, rows, corpus, dtype, identity, target } = about;
  const sizes = sizesOf({ dIn: about.dIn, dOut: target?.dOut, dSae: config.dSae });
  const { options, trained } = architectureSettings(config, sizes);
  /** For flags whose recorded value differs from the given one. */
  const derived: Partial<Record<keyof TrainConfig, WrittenRecord>> = {
    arch: { arch: config.arch, ...recordedFlags(config, options) },
    // Null: everything that the architecture and its flags train.
    train: { train: config.train ? [...trained] : null },
    l1: { l1: usualL1(config, options) ?? null },
    normalize: { normalize: normalizationOf(config) },
    steps: { steps: plan.steps },
    warmup: { warmup: plan.warmup },
    decaySteps: { decay_steps: plan.decaySteps },
    init: { init: config.init ?? null, init_sha256: initSha256 },
    // Absent if not given, as in older records.
    skip: { skip: config.skip || undefined },
  };
  const record = RECORDED_FLAGS.map((key) => derived[key] ?? { [recordName(key)]: config[key] });
  const hooks = { hook, hook_out: target?.hook };
  const text = {
    ...(about.documents && { documents: about.documents }),
    ...(about.read && { read: [...about.read] }),
    ...(about.chat && { chat: about.chat }),
  };
  const activations = { model: model.fingerprint, ...hooks, rows, corpus, ...text, dtype, sha256: identity };
  return Object.assign({}, ...record, { activations });
}

/** The parts of a run that go into its metadata. */
interface MetadataParts {
  readonly about: SourceDescription;
  readonly fixed: WrittenRecord;
  readonly settings: EngineSettings;
  readonly steps: number;
  /** In the engines' convention; null if not yet known. */
  readonly lambda: number | null;
  /** Rows left out of batches, if that can happen. */
  readonly leftOut?: number;
  /** Number of initial directions of features, if determined. */
  readonly subspace?: Estimates['subspace'];
}

/**
 * The information in cfg.json besides the shapes.
 *
 * @param last the last line of the curve
 * @param text for a source that can be read only once, what it was trained on
 */
export function metadata(
  { about, fixed, settings, steps, lambda, leftOut, subspace }: MetadataParts,
  last?: MetricsLine,
  text?: TextRead,
): WrittenMetadata {
  const { tokens_per_second: _, ...final } = last ?? ({} as Partial<MetricsLine>);
  const results: WrittenResults = {
    tokens: steps * settings.batch,
    activation_scale: settings.scale,
    target_scale: settings.scaleOut,
    lambda: trainingOf(settings.architecture).penalised ? lambda : null,
    left_out: leftOut,
    subspace,
    text,
    final: final as WrittenResults['final'],
  };
  return {
    model_name: about.model.name,
    // Activations from an array may have no model.
    model_fingerprint: about.model.fingerprint || undefined,
    hook_name: about.hook,
    hook_name_out: about.target?.hook,
    training_architecture: ARCHITECTURES[settings.architecture].saelens.savedAs?.training,
    hook_head_index: null,
    context_size: about.context,
    prepend_bos: about.prependBos,
    exclude_special_tokens: about.excludedTokens,
    chat_roles: about.chat?.roles,
    max_activation_norm_multiple: about.normLimit?.multiple,
    median_activation_norm: about.normLimit?.median,
    sae_pipe: { ...fixed, ...results },
  };
}

/** Flags that weight the sparsity penalty, with their defaults. */
const OF_PENALTY = {
  l1: undefined,
  l0: undefined,
  l1Convention: 'sums',
  l2Normalise: false,
  l1Warmup: 0,
  l1WarmupShare: undefined,
} as const;

/** Is it given explicitly? */
const given = (value: unknown, usual: unknown) =>
  JSON.stringify(value) !== JSON.stringify(usual) && JSON.stringify(value) !== '[]';

/** @throws UsageRefusal if a flag does not belong to --arch */
function checkFlagsOf({ arch, ...flags }: Pick<TrainConfig, 'arch'> & Readonly<Record<string, unknown>>): void {
  const { flags: own, penalised, penaltyScales } = trainingOf(arch);
  for (const [key, schema] of Object.entries(architectureFlags)) {
    if (key in own || !given(flags[key], (schema as z.ZodType).parse(undefined))) continue;
    const owners = trainable.filter((other) => key in trainingOf(other).flags);
    throw new UsageRefusal(
      `--${flagName(key)} requires --arch ${owners.join(' or ')}, but --arch is ${arch}.`,
      `Omit --${flagName(key)}.`,
      'train/foreign-flag',
    );
  }
  for (const [key, usual] of Object.entries(penalised ? {} : OF_PENALTY)) {
    if (!given(flags[key] ?? usual, usual)) continue;
    throw new UsageRefusal(
      `--${flagName(key)} applies to a sparsity penalty, but the loss of --arch ${arch} has none.`,
      key === 'l0' ? 'Its L0 is --k: give --k instead of --l0.' : `Omit --${flagName(key)}.`,
      'train/foreign-flag',
    );
  }
  if (penaltyScales === false && flags.l1Convention === 'paper') {
    throw new UsageRefusal(
      `--l1-convention paper requires a penalty that scales with the activations, but that of --arch ${arch} does not.`,
      'Omit --l1-convention, and give --l1 relative to summed squared errors of normalised activations.',
      'train/l1-convention',
    );
  }
}

/** @throws UsageRefusal if more features should fire than there are */
function checkL0({ l0 }: Pick<TrainConfig, 'l0'>, { dSae }: Sizes): void {
  if (l0 === undefined || l0 < dSae) return;
  throw new UsageRefusal(
    `--l0 ${l0} is not less than the ${dSae} features of --d-sae.`,
    'Use a smaller --l0, or a larger --d-sae.',
    'train/l0',
  );
}

/**
 * The engine settings from --arch, its own flags and --train.
 *
 * @throws UsageRefusal if they contradict each other, or a flag belongs to another architecture
 */
export function architectureSettings(
  config: Pick<TrainConfig, 'arch' | 'train' | 'l0'> & Partial<Pick<TrainConfig, 'skip'>>,
  sizes: Sizes,
): Required<Pick<EngineSettings, 'architecture' | 'options' | 'trained'>> {
  const { arch, train } = config;
  checkFlagsOf(config);
  const chosen = trainingOf(arch);
  const options = chosen.options(config, sizes);
  checkL0(config, sizes);
  const architecture = chosen.variant?.(options) ?? arch;
  const names = [...trainingOf(architecture).trains(options), ...(config.skip ? (['W_skip'] as const) : [])];
  const foreign = train?.find((name) => !names.includes(name));
  if (foreign !== undefined) {
    throw new UsageRefusal(
      `--train ${foreign}: this SAE has no such parameter to train.`,
      `It trains ${names.join(', ')}.`,
      'train/unknown-parameter',
    );
  }
  return { architecture, options, trained: train ? names.filter((name) => train.includes(name)) : names };
}

/** The flags of all architectures as recorded: its own as parsed, others as given. */
function recordedFlags(config: TrainConfig, options: unknown): Record<string, unknown> {
  const values: Readonly<Record<string, unknown>> = { ...config, ...(options as object) };
  return Object.fromEntries(
    Object.keys(architectureFlags).flatMap((key) => {
      const value = values[key] ?? (architectureFlags[key] as z.ZodType).safeParse([]).data;
      return value === undefined ? [] : [[recordName(key), value]];
    }),
  );
}

/** Commands that trained a run further. */
type Legs = NonNullable<TrainingRecord['trained_further']>;

/** The settings that determine a run's result. */
interface Course {
  readonly plan: Schedule;
  readonly fixed: WrittenRecord;
}

function courseOf(
  config: TrainConfig,
  about: SourceDescription,
  initSha256: string | undefined,
  steps: number,
  legs: Legs,
): Course {
  // The warm-up is over, and keeps its length.
  const plan = planned(config, steps, legs[0]?.of);
  return {
    plan,
    fixed: { ...fixedSettings(config, about, plan, initSha256), ...(legs.length > 0 ? { trained_further: legs } : {}) },
  };
}

/** The course of a new run. */
export function newCourse(config: TrainConfig, about: SourceDescription, initSha256: string | undefined): Course {
  const steps = stepsOf(config, about);
  checkSchedule(config, steps);
  return courseOf(config, about, initSha256, steps, []);
}

/**
 * The course of a run started with `found` settings that has done `done` steps. If this command requests more steps
 * than planned, it is trained further: past steps stay unchanged, and from there on learning rate and λ follow the
 * schedule of a run of that many steps with the original warm-up.
 *
 * @param path where the settings were found
 * @throws Refusal listing the differences
 */
export function continuedCourse(
  path: string,
  found: TrainingRecord,
  done: number,
  given: TrainConfig,
  about: SourceDescription,
  initSha256: string | undefined,
): Course {
  // If not given, it was decided when the run started.
  const begun = recorded(found, recordName('maxActivationNormMultiple'));
  const config = { ...given, maxActivationNormMultiple: given.maxActivationNormMultiple ?? Number(begun) };
  const wanted = stepsOf(config, about);
  const before = found.steps ?? wanted;
  const legs = found.trained_further ?? [];
  const same = courseOf(config, about, initSha256, before, legs);
  // The same SAE may have moved.
  const moved = initSha256 !== undefined && initSha256 === found.init_sha256 ? { init: found.init } : {};
  const further = wanted > before;
  if (further && isMade(config) && !sameActivations(found, same.fixed)) {
    throw new Refusal(
      `${path} belongs to a run whose activations were planned for ${before} steps: with a stream or --model, training cannot go beyond them.`,
      'Harvest a store to train further, or start a new run from its weights with --init.',
      'train/fixed-length',
    );
  }
  checkSameSettings(path, found, { ...same.fixed, ...moved });
  if (wanted === before) return same;
  if (!further) {
    throw new Refusal(
      `${path} belongs to a run of ${before} steps, but this command has ${wanted}.`,
      'Omit --steps and --tokens to resume the run, or give more to train it further.',
      'train/fewer-steps',
    );
  }
  checkSchedule(config, wanted, legs[0]?.of ?? before);
  return courseOf(config, about, initSha256, wanted, [...legs, { from: done, of: before }]);
}

/** Are activations generated during training, so that their order depends on the requested number? */
const isMade = ({ activations }: TrainConfig) => activations === undefined || activations === '-';

const sameActivations = (a: TrainingRecord, b: WrittenRecord) =>
  JSON.stringify(a.activations) === JSON.stringify(b.activations);

/** Behaviour of a run, by key of its record. */
const recorded = (before: TrainingRecord, key: string) => (key in before ? before[key] : BEFORE_RECORDS[key]);

function differencesOf(before: TrainingRecord, settings: WrittenRecord): string[] {
  return Object.keys(settings).flatMap((key) => {
    const [then, now] = [JSON.stringify(recorded(before, key)), JSON.stringify(settings[key])];
    return then === now ? [] : [`${key} = ${then}, but this command has ${now}`];
  });
}

/** @throws Refusal listing the differences */
function checkSameSettings(path: string, before: TrainingRecord, settings: WrittenRecord): void {
  const differences = differencesOf(before, settings);
  if (differences.length === 0) return;
  throw new Refusal(
    `${path} was written with ${differences.join('; ')}.`,
    'A run keeps its settings: resume with the same, or start a new run with others, into another --out or with --overwrite.',
    'train/other-settings',
  );
}

/**
 * The source recorded in a run's settings, as far as known.
 *
 * @throws Refusal if they record none
 */
export function recordedSource(
  { activations }: TrainingRecord,
  { dIn, dOut }: Pick<Sizes, 'dIn' | 'dOut'>,
): SourceDescription {
  const dtype = activationDTypes.find((name) => name === activations?.dtype);
  if (!activations || !dtype) {
    throw new Refusal(
      'The SAE in --out was not trained here.',
      'Use --init to start a new run from it.',
      'train/not-trained-here',
    );
  }
  const { model, sha256, hook, hook_out, rows, corpus, documents, read, chat } = activations;
  const target = hook_out === undefined ? {} : { target: { hook: hook_out, dOut, meanNorm: null } };
  const unknown = { place: 'the activations of the run', dIn, context: 0, prependBos: true, meanNorm: null };
  return {
    ...{ hook, rows, corpus, dtype },
    ...(documents && { documents }),
    ...(read && { read }),
    ...(chat && { chat }),
    ...target,
    ...unknown,
    model: { name: '', fingerprint: model },
    identity: sha256,
  };
}
