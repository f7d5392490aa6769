import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { ActivationBatches } from '../activations/batches.js';
import { openStore, type Store } from '../activations/store.js';
import { Interrupted, Refusal, UsageRefusal } from '../config/refusal.js';
import type { TrainConfig } from '../config/stages.js';
import { JsonLines } from '../disk/json-lines.js';
import { claimOutputDirectory } from '../disk/output-directory.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { scaleActivations } from '../sae/activation-scale.js';
import { initialise } from '../sae/initialise.js';
import type { Sae } from '../sae/sae.js';
import { CFG_FILE, openSae, readSae, saveSae, WEIGHTS_FILE } from '../sae/saelens.js';
import { CHECKPOINT_FILE, readCheckpoint, writeCheckpoint } from './checkpoint.js';
import type { Engine, EngineSettings, StepMetrics, TrainerState } from './engines/engine.js';
import { openReferenceEngine } from './engines/reference/engine.js';
import { stateShapes } from './engines/reference/step-graph.js';
import { MetricsLog } from './metrics.js';
import { METRICS_FILE, type MetricsRecord } from './metrics-record.js';
import { type Schedule, schedule } from './schedule.js';

const ours = (name: string) => [CFG_FILE, WEIGHTS_FILE, METRICS_FILE, CHECKPOINT_FILE].includes(name);

/**
 * Trains an SAE on an activation store and writes it to config.out.
 *
 * @returns the directory
 */
export async function train(config: TrainConfig, progress: Progress, stop: StopRequest): Promise<string> {
  const store = await openStore(config.activations);
  const plan = schedule(config, stepsOf(config, store));
  const settings = engineSettings(config, store);
  const fixed = fixedSettings(config, store, plan);
  const checkpoint = config.resume ? await readCheckpoint(config.out, fixed) : undefined;
  const start = checkpoint?.state ?? (await startingPoint(config, settings));
  await claimOutputDirectory(config.out, {
    overwrite: config.overwrite,
    resume: config.resume,
    ours,
    resumeFlag: '--resume',
  });

  const engine = await openReferenceEngine(settings, start, checkpoint?.steps);
  let curve: JsonLines<MetricsRecord> | undefined;
  try {
    curve = await JsonLines.open<MetricsRecord>(join(config.out, METRICS_FILE), {
      keep: (line) => line.step <= engine.steps,
    });
    const log = new MetricsLog(config.dSae, config.batch, checkpoint?.metricSums);
    const batches = new ActivationBatches(store, config.order, config.seed);
    await batches.seek(engine.steps * config.batch);
    const save = () =>
      writeCheckpoint(
        config.out,
        { steps: engine.steps, settings: JSON.stringify(fixed), metricSums: log.state(), state: engine.state() },
        stateShapes(settings),
      );
    const last = await loop({ config, plan, engine, batches, log, curve, save, progress, stop });
    const sae = scaleActivations(engine.sae(), 1 / settings.scale);
    await saveSae(config.out, sae, metadata(config, store, plan, settings, last));
    await rm(join(config.out, CHECKPOINT_FILE), { force: true });
  } finally {
    await curve?.close();
    await engine.close();
  }
  return config.out;
}

interface Loop {
  readonly config: TrainConfig;
  readonly plan: Schedule;
  readonly engine: Engine;
  readonly batches: ActivationBatches;
  readonly log: MetricsLog;
  readonly curve: JsonLines<MetricsRecord>;
  readonly save: () => Promise<void>;
  readonly progress: Progress;
  readonly stop: StopRequest;
}

/** @returns the last line of the curve */
async function loop({
  config,
  plan,
  engine,
  batches,
  log,
  curve,
  save,
  progress,
  stop,
}: Loop): Promise<MetricsRecord | undefined> {
  progress.begin(`training ${config.arch}`, plan.steps * config.batch, 'token');
  progress.update(engine.steps * config.batch);
  let last = curve.last;
  while (engine.steps < plan.steps) {
    const at = plan.at(engine.steps);
    const metrics = await engine.step(await batches.next(config.batch), at);
    const { steps } = engine;
    checkFinite(metrics, steps, config);
    log.add(metrics);
    if (steps % config.logEvery === 0 || steps === plan.steps) {
      last = log.line(steps, metrics, at.lr);
      await curve.append(last);
    }
    progress.update(steps * config.batch, figures(last));
    if (stop.signal) {
      await save();
      progress.end();
      throw new Interrupted(
        stop.signal,
        `step ${steps} of ${plan.steps} is kept in ${config.out}; go on with the same command and --resume.`,
      );
    }
    if (config.checkpointEvery > 0 && steps % config.checkpointEvery === 0) await save();
  }
  progress.end();
  return last;
}

function figures(line: MetricsRecord | undefined): string {
  return line ? `· L0 ${line.l0.toFixed(1)} · EV ${line.explained_variance.toFixed(3)}` : '';
}

function stepsOf(config: TrainConfig, store: Store): number {
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

function engineSettings(config: TrainConfig, store: Store): EngineSettings {
  const { d_in, mean_norm, dtype } = store.manifest;
  if (config.normalize === 'mean-norm' && !(mean_norm! > 0)) {
    throw new Refusal(`${store.directory}: every activation is zero, which --normalize mean-norm cannot scale.`);
  }
  return {
    architecture: config.arch,
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

/** Random weights, or the SAE named by --init as it is at the training scale. */
async function startingPoint(config: TrainConfig, settings: EngineSettings): Promise<TrainerState> {
  const { architecture, dIn, dSae } = settings;
  let sae: Sae;
  if (config.init === undefined) {
    sae = initialise(architecture, dIn, dSae, config.seed);
  } else {
    const files = await openSae(config.init);
    const differs = (what: string, found: unknown, wanted: unknown) => {
      throw new Refusal(
        `${config.init} has ${what} ${found} where this run has ${wanted}.`,
        'Start from an SAE of the same architecture and size.',
      );
    };
    if (files.architecture !== architecture) differs('architecture', files.architecture, architecture);
    if (files.dIn !== dIn) differs('d_in', files.dIn, `${dIn} (${config.activations})`);
    if (files.dSae !== dSae) differs('d_sae', files.dSae, dSae);
    sae = scaleActivations(await readSae(files), settings.scale);
  }
  return new Map(Object.entries(sae.parameters));
}

/** What decides the result: a run may only be continued with the same, and cfg.json records it. */
function fixedSettings(config: TrainConfig, store: Store, plan: Schedule): Record<string, unknown> {
  const {
    arch,
    dSae,
    l1,
    l1Warmup,
    batch,
    lr,
    warmup,
    beta1,
    beta2,
    seed,
    init,
    normalize,
    order,
    deadWindow,
    logEvery,
  } = config;
  const { hook, model, rows, corpus } = store.manifest;
  return {
    arch,
    d_sae: dSae,
    l1,
    l1_warmup: l1Warmup,
    steps: plan.steps,
    batch,
    lr,
    warmup,
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
      seed: store.manifest.seed,
    },
  };
}

function metadata(
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

function checkFinite(metrics: StepMetrics, step: number, config: TrainConfig): void {
  const loss = metrics.mse + metrics.l1 + metrics.aux;
  if (Number.isFinite(loss)) return;
  throw new Refusal(
    `The loss is ${loss} at step ${step} (learning rate ${config.lr}).`,
    'Use a smaller --lr; an earlier checkpoint is kept in --out where --checkpoint-every wrote one.',
  );
}
