import { createHash } from 'node:crypto';
import type { Store } from '../activations/store.js';
import { Refusal, UsageRefusal } from '../config/refusal.js';
import type { TrainConfig } from '../config/stages.js';
import { ablatedSettings, ablationsOf } from './ablations.js';
import type { EngineSettings } from './engines/engine.js';
import type { MetricsRecord } from './metrics-record.js';
import type { Schedule } from './schedule.js';

/** Optimiser steps of the run. */
export function stepsOf(config: TrainConfig, store: Store): number {
  if (config.steps !== undefined && config.tokens !== undefined) {
    throw new UsageRefusal('--steps and --tokens exclude each other.', 'Give one of them.');
  }
  if (config.steps !== undefined) return config.steps;
  const steps = Math.floor((config.tokens ?? store.manifest.rows) / config.batch);
  if (steps === 0) {
    throw new UsageRefusal(
      `${config.tokens ?? store.manifest.rows} activations do not fill a batch of ${config.batch}.`,
      'Use a smaller --batch or more activations.',
    );
  }
  return steps;
}

/** What the engine needs to know. */
export function engineSettings(config: TrainConfig, store: Store): EngineSettings {
  const { d_in, mean_norm, dtype } = store.manifest;
  if (config.normalize === 'mean-norm' && !(mean_norm! > 0)) {
    throw new Refusal(`${store.directory}: every activation is zero, which --normalize mean-norm cannot scale.`);
  }
  return {
    ...ablatedSettings(config),
    dIn: d_in,
    dSae: config.dSae,
    batch: config.batch,
    batchDType: dtype === 'float16' ? 'float16' : 'float32',
    scale: config.normalize === 'mean-norm' ? Math.sqrt(d_in) / mean_norm! : 1,
    beta1: config.beta1,
    beta2: config.beta2,
    deadWindow: config.deadWindow,
    device: config.device,
    threads: config.threads,
  };
}

/** What decides the result: a run may only be continued with the same, and cfg.json records it. */
export function fixedSettings(config: TrainConfig, store: Store, plan: Schedule): Record<string, unknown> {
  const { arch, dSae, l1, l1Warmup, batch, lr, beta1, beta2, seed, init, normalize, order, deadWindow, logEvery } =
    config;
  const { hook, model, rows, corpus } = store.manifest;
  return {
    arch,
    ablate: ablationsOf(config),
    train: ablatedSettings(config).trained,
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
    dead_window: deadWindow,
    log_every: logEvery,
    activations: {
      model: model.fingerprint,
      hook,
      rows,
      corpus,
      dtype: store.manifest.dtype,
      sha256: contentHash(store),
    },
  };
}

/** One hash over those of all shards: the same rows in the same order. */
function contentHash(store: Store): string {
  const hash = createHash('sha256');
  for (const shard of store.manifest.shards) hash.update(shard.sha256);
  return hash.digest('hex');
}

/** What cfg.json says beside the shapes. */
export function metadata(
  config: TrainConfig,
  store: Store,
  plan: Schedule,
  settings: EngineSettings,
  last: MetricsRecord | undefined,
) {
  const { model, hook, context } = store.manifest;
  const { tokens_per_second: _, ...final } = last ?? ({} as Partial<MetricsRecord>);
  return {
    model_name: model.name,
    model_fingerprint: model.fingerprint,
    hook_name: hook,
    hook_head_index: null,
    context_size: context,
    prepend_bos: true,
    sae_pipe: {
      ...fixedSettings(config, store, plan),
      tokens: plan.steps * config.batch,
      activation_scale: settings.scale,
      final,
    },
  };
}
