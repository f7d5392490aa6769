import type { SourceDescription } from '../activations/source.js';
import { Refusal, UsageRefusal } from '../config/refusal.js';
import type { TrainConfig } from '../config/stages.js';
import type { EngineSettings } from './engines/engine.js';
import type { MetricsRecord } from './metrics-record.js';
import type { Schedule } from './schedule.js';

/** Optimiser steps of the run. */
export function stepsOf(config: TrainConfig, about: SourceDescription): number {
  if (config.steps !== undefined && config.tokens !== undefined) {
    throw new UsageRefusal('--steps and --tokens exclude each other.', 'Give one of them.');
  }
  if (config.steps !== undefined) return config.steps;
  const steps = Math.floor((config.tokens ?? about.rows) / config.batch);
  if (steps === 0) {
    throw new UsageRefusal(
      `${config.tokens ?? about.rows} activations do not fill a batch of ${config.batch}.`,
      'Use a smaller --batch or more activations.',
    );
  }
  return steps;
}

/** What the engine needs to know. */
export function engineSettings(config: TrainConfig, about: SourceDescription): EngineSettings {
  const { dIn, meanNorm, dtype, place } = about;
  if (config.normalize === 'mean-norm' && meanNorm === null) {
    throw new UsageRefusal(
      `--normalize mean-norm needs the mean norm of ${place}, which is not known before its rows have passed.`,
      'Use --normalize none, or train on a store.',
    );
  }
  if (config.normalize === 'mean-norm' && !(meanNorm! > 0)) {
    throw new Refusal(`${place}: every activation is zero, which --normalize mean-norm cannot scale.`);
  }
  return {
    architecture: config.arch,
    dIn,
    dSae: config.dSae,
    batch: config.batch,
    batchDType: dtype === 'float16' ? 'float16' : 'float32',
    scale: config.normalize === 'mean-norm' ? Math.sqrt(dIn) / meanNorm! : 1,
    beta1: config.beta1,
    beta2: config.beta2,
    deadWindow: config.deadWindow,
    device: config.device,
    threads: config.threads,
  };
}

/** What decides the result: a run may only be continued with the same, and cfg.json records it. */
export function fixedSettings(config: TrainConfig, about: SourceDescription, plan: Schedule): Record<string, unknown> {
  const {
    arch,
    dSae,
    l1,
    l1Warmup,
    batch,
    lr,
    beta1,
    beta2,
    seed,
    init,
    normalize,
    order,
    poolRows,
    deadWindow,
    logEvery,
  } = config;
  const { hook, model, rows, corpus, dtype, identity } = about;
  return {
    arch,
    d_sae: dSae,
    l1,
    l1_warmup: l1Warmup,
    steps: plan.steps,
    batch,
    lr,
    warmup: plan.warmup,
    beta1,
    beta2,
    seed,
    init: init ?? null,
    normalize,
    order,
    pool_rows: poolRows,
    dead_window: deadWindow,
    log_every: logEvery,
    activations: {
      model: model.fingerprint,
      hook,
      rows,
      corpus,
      dtype,
      sha256: identity,
    },
  };
}

/** What cfg.json says beside the shapes. */
export function metadata(
  config: TrainConfig,
  about: SourceDescription,
  plan: Schedule,
  settings: EngineSettings,
  last: MetricsRecord | undefined,
) {
  const { model, hook, context } = about;
  const { tokens_per_second: _, ...final } = last ?? ({} as Partial<MetricsRecord>);
  return {
    model_name: model.name,
    model_fingerprint: model.fingerprint,
    hook_name: hook,
    hook_head_index: null,
    context_size: context,
    prepend_bos: true,
    sae_pipe: {
      ...fixedSettings(config, about, plan),
      tokens: plan.steps * config.batch,
      activation_scale: settings.scale,
      final,
    },
  };
}
