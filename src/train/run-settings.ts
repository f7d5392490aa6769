import type { Order, SourceDescription, TextRead } from '../activations/source.js';
import { UsageRefusal } from '../config/refusal.js';
import type { TrainConfig } from '../config/stages.js';
import { ablatedSettings, ablationsOf } from './ablations.js';
import type { EngineSettings } from './engines/engine.js';
import type { Estimates } from './estimates.js';
import type { MetricsRecord } from './metrics-record.js';
import type { Schedule } from './schedule.js';
import type { SparsityCoefficient } from './sparsity-coefficient.js';

/** Optimiser steps of the run. */
export function stepsOf(config: TrainConfig, about: Pick<SourceDescription, 'rows'>): number {
  if (config.steps !== undefined && config.tokens !== undefined) {
    throw new UsageRefusal('--steps and --tokens exclude each other.', 'Give one of them.');
  }
  if (config.steps !== undefined) return config.steps;
  const tokens = config.tokens ?? about.rows;
  const steps = Math.floor(tokens / config.batch);
  if (steps === 0) {
    throw new UsageRefusal(
      `${tokens} activations do not fill a batch of ${config.batch}.`,
      'Use a smaller --batch or more activations.',
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
    ...ablatedSettings(config),
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
  return {
    arch: config.arch,
    ablate: ablationsOf(config),
    // Null: all that its architecture and ablations have.
    train: config.train ? ablatedSettings(config).trained : null,
    d_sae: config.dSae,
    l1: config.l1,
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
  last: MetricsRecord | undefined,
  text?: TextRead,
) {
  const { tokens_per_second: _, ...final } = last ?? ({} as Partial<MetricsRecord>);
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
      lambda: lambda.value,
      // Of a source that passes once: the text that it was trained on.
      ...(text && { text }),
      final,
    },
  };
}
