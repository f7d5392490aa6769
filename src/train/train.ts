import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { ActivationSource, Batches } from '../activations/source.js';
import { Interrupted, Refusal } from '../config/refusal.js';
import type { TrainConfig } from '../config/stages.js';
import { exists } from '../disk/exists.js';
import { checkFreeSpace } from '../disk/free-space.js';
import { JsonLines } from '../disk/json-lines.js';
import { checkOutputDirectory, claimOutputDirectory } from '../disk/output-directory.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { scaleActivations } from '../sae/activation-scale.js';
import { CFG_FILE, openSae, saveSae, WEIGHTS_FILE } from '../sae/saelens.js';
import { CHECKPOINT_FILE, checkSameSettings, readCheckpoint, writeCheckpoint } from './checkpoint.js';
import type { Engine, StepMetrics } from './engines/engine.js';
import { checkMemory, chooseEngine, openEngine } from './engines/open.js';
import { stateBytes, stateShapes } from './engines/state.js';
import { MetricsLog } from './metrics.js';
import { METRICS_FILE, type MetricsRecord } from './metrics-record.js';
import { engineSettings, fixedSettings, metadata, stepsOf } from './run-settings.js';
import { type Schedule, schedule } from './schedule.js';
import { openSource } from './source.js';
import { startingPoint } from './starting-point.js';

const ours = (name: string) => [CFG_FILE, WEIGHTS_FILE, METRICS_FILE, CHECKPOINT_FILE].includes(name);

/**
 * Trains an SAE on a source of activations and writes it to config.out. Everything that can be known before is checked
 * first, the first rows and the engine included; nothing on disk changes until then.
 *
 * @returns the directory
 */
export async function train(config: TrainConfig, progress: Progress, stop: StopRequest): Promise<string> {
  const source = await openSource(config, progress, stop);
  try {
    return await trainOn(source, config, progress, stop);
  } finally {
    await source.close();
  }
}

async function trainOn(
  source: ActivationSource,
  config: TrainConfig,
  progress: Progress,
  stop: StopRequest,
): Promise<string> {
  const { about } = source;
  const plan = schedule(config, stepsOf(config, about));
  const settings = engineSettings(config, about);
  const fixed = fixedSettings(config, about, plan);
  const { overwrite, resume, out } = config;
  const claim = { overwrite, resume, ours, resumeFlag: '--resume' };
  await checkOutputDirectory(out, claim);
  if (resume && (await finishedBefore(out, fixed))) return out;
  const engineName = chooseEngine(config.engine, config.device);
  checkMemory(engineName, settings);
  // A new checkpoint is written beside the old one.
  await checkFreeSpace(out, 2 * stateBytes(settings));
  const checkpoint = resume ? await readCheckpoint(out, fixed) : undefined;
  const start = checkpoint?.state ?? (await startingPoint(config, settings, about.place));

  const engine = await openEngine(engineName, settings, start, checkpoint?.steps);
  let curve: JsonLines<MetricsRecord> | undefined;
  try {
    const batches = source.batches(config.order, config.seed);
    await batches.seek(engine.steps * config.batch);
    await claimOutputDirectory(out, claim);
    curve = await JsonLines.open<MetricsRecord>(join(out, METRICS_FILE), { keep: (line) => line.step <= engine.steps });
    const log = new MetricsLog(config.dSae, config.batch, checkpoint?.metricSums);
    const save = async () =>
      writeCheckpoint(
        out,
        { steps: engine.steps, settings: JSON.stringify(fixed), metricSums: log.state(), state: await engine.state() },
        stateShapes(settings),
      );
    const last = await loop({ config, plan, engine, batches, log, curve, save, progress, stop });
    const sae = scaleActivations(await engine.sae(), 1 / settings.scale);
    await saveSae(out, sae, metadata(config, about, plan, settings, last));
    await rm(join(out, CHECKPOINT_FILE), { force: true });
  } finally {
    await curve?.close();
    await engine.close();
  }
  return out;
}

/** Is `directory` the finished SAE of just these settings? Then resuming has nothing to do. */
async function finishedBefore(directory: string, fixed: Readonly<Record<string, unknown>>): Promise<boolean> {
  const path = join(directory, CFG_FILE);
  if (!(await exists(path))) return false;
  const { metadata: found } = await openSae(directory);
  checkSameSettings(path, (found.sae_pipe ?? {}) as Record<string, unknown>, fixed);
  // A kill between writing the SAE and this leaves the checkpoint.
  await rm(join(directory, CHECKPOINT_FILE), { force: true });
  return true;
}

interface Loop {
  readonly config: TrainConfig;
  readonly plan: Schedule;
  readonly engine: Engine;
  readonly batches: Batches;
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
  const kept = () =>
    `step ${engine.steps} of ${plan.steps} is kept in ${config.out}; go on with the same command and --resume.`;
  while (engine.steps < plan.steps) {
    const at = plan.at(engine.steps);
    // Rows that do not come must not cost the steps that were made.
    const batch = await batches.next(config.batch).catch(async (cause) => {
      await save();
      progress.end();
      if (stop.signal) throw new Interrupted(stop.signal, kept());
      progress.say(kept());
      throw cause;
    });
    const metrics = await engine.step(batch, at);
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
      throw new Interrupted(stop.signal, kept());
    }
    if (config.checkpointEvery > 0 && steps % config.checkpointEvery === 0) await save();
  }
  progress.end();
  return last;
}

function figures(line: MetricsRecord | undefined): string {
  return line ? `· L0 ${line.l0.toFixed(1)} · EV ${line.explained_variance?.toFixed(3) ?? '–'}` : '';
}

function checkFinite(metrics: StepMetrics, step: number, config: TrainConfig): void {
  const loss = metrics.mse + metrics.l1 + metrics.aux;
  if (Number.isFinite(loss)) return;
  throw new Refusal(
    `The loss is ${loss} at step ${step} (learning rate ${config.lr}).`,
    'Use a smaller --lr; what checkpoints were written before are kept in --out.',
  );
}
