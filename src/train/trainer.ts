import { join } from 'node:path';
import type { ActivationArray } from '../activations/arrow-files.js';
import type { ActivationSource, Batches } from '../activations/source.js';
import { Refusal, UsageRefusal } from '../config/refusal.js';
import type { TrainConfig } from '../config/stages.js';
import { checkFreeSpace } from '../disk/free-space.js';
import { JsonLines } from '../disk/json-lines.js';
import { checkOutputDirectory, claimOutputDirectory } from '../disk/output-directory.js';
import { scaleActivations } from '../sae/activation-scale.js';
import { PARAMETERS } from '../sae/sae.js';
import { CFG_FILE, saveSae, WEIGHTS_FILE } from '../sae/saelens.js';
import { isCheckpoint, readCheckpoint, removeCheckpoints, writeCheckpoint } from './checkpoint.js';
import { CheckpointClock } from './checkpoint-clock.js';
import type { Engine, EngineSettings, StepMetrics } from './engines/engine.js';
import { isTrained } from './engines/objective.js';
import { checkMemory, chooseEngine, type EngineName, openEngine } from './engines/open.js';
import { stateBytes, stateShapes } from './engines/state.js';
import { type Estimates, estimate, medianActivation } from './estimates.js';
import { finishedBefore } from './finished.js';
import { MetricsLog } from './metrics.js';
import { METRICS_FILE, type MetricsRecord } from './metrics-record.js';
import { deadFeatures, drawInputs, resampleFeatures } from './resampling.js';
import { RUN_FILE, removeRunFile, writeRunFile } from './run-file.js';
import { activationScale, engineSettings, fixedSettings, metadata, stepsOf } from './run-settings.js';
import { type Schedule, schedule } from './schedule.js';
import { type SparsityCoefficient, sparsityCoefficient } from './sparsity-coefficient.js';
import { frozenBiases, startingPoint } from './starting-point.js';

const ours = (name: string) => [CFG_FILE, WEIGHTS_FILE, METRICS_FILE, RUN_FILE].includes(name) || isCheckpoint(name);

/** Told of what is worth reading afterwards. */
export type Say = (line: string) => void;

/** Everything of a run that does not change from step to step. */
interface Run {
  readonly config: TrainConfig;
  readonly source: ActivationSource;
  readonly batches: Batches;
  readonly plan: Schedule;
  readonly fixed: Readonly<Record<string, unknown>>;
  readonly settings: EngineSettings;
  readonly engineName: EngineName;
  readonly estimates: Estimates;
  readonly lambda: SparsityCoefficient;
  readonly say: Say;
  readonly open: typeof openEngine;
}

/**
 * One SAE in training: takes batches one after another, and keeps schedule, curve, checkpoints and resampling. Who
 * feeds it decides where batches come from and what else runs beside it; the same batches give the same bytes.
 */
export class Trainer {
  private readonly clock: CheckpointClock;

  private constructor(
    private readonly run: Run,
    private engine: Engine,
    private readonly log: MetricsLog,
    private readonly curve: JsonLines<MetricsRecord>,
  ) {
    this.clock = new CheckpointClock(run.config.checkpointEvery, engine.steps);
  }

  /**
   * Opens a run, or what its checkpoint left of it. Everything that can be known before is checked first, the engine
   * included; nothing on disk changes until then.
   *
   * @param batches of the source; only `begin` moves them
   * @param begin given the steps done, makes sure that rows can come; called before anything on disk changes
   * @param open opens an engine; tests put another device in its place
   * @returns the trainer, or undefined where --resume finds the SAE finished
   */
  static async open(
    config: TrainConfig,
    source: ActivationSource,
    batches: Batches,
    say: Say,
    begin: (steps: number) => Promise<void> = async () => {},
    open = openEngine,
  ): Promise<Trainer | undefined> {
    const { about } = source;
    const plan = schedule(config, stepsOf(config, about));
    const fixed = fixedSettings(config, about, plan);
    const { overwrite, resume, out } = config;
    const claim = { overwrite, resume, ours, resumeFlag: '--resume' };
    await checkOutputDirectory(out, claim);
    if (resume && (await finishedBefore(out, fixed))) return undefined;
    const sizes = engineSettings(config, about, 1);
    checkResampling(config, sizes);
    const engineName = chooseEngine(config, sizes.architecture);
    checkMemory(engineName, sizes);
    // A new checkpoint is written beside those that are kept.
    await checkFreeSpace(out, (config.keepCheckpoints + 1) * stateBytes(sizes));
    const checkpoint = resume ? await readCheckpoint(out, fixed, say) : undefined;
    const estimates = checkpoint?.estimates ?? (await estimate(config, about, batches));
    const scale = activationScale(config, about, estimates);
    const settings = engineSettings(config, about, scale);
    const lambda = sparsityCoefficient(config, { dIn: about.dIn, scale, meanSquare: estimates.meanSquare });
    const median = () => medianActivation(about, batches);
    const start = checkpoint?.state ?? (await startingPoint(config, settings, median));
    const engine = await open(engineName, settings, start, checkpoint?.steps);
    try {
      await begin(engine.steps);
      await claimOutputDirectory(out, claim);
      await writeRunFile(out, metadata(about, fixed, settings, plan.steps, lambda, undefined));
      const keep = (line: MetricsRecord) => line.step <= engine.steps;
      const curve = await JsonLines.open<MetricsRecord>(join(out, METRICS_FILE), { keep });
      const log = new MetricsLog(config.dSae, config.batch, checkpoint?.metricSums);
      const run = { config, source, batches, plan, fixed, settings, engineName, estimates, lambda, say, open };
      return new Trainer(run, engine, log, curve);
    } catch (error) {
      await engine.close();
      throw error;
    }
  }

  /** Steps done. */
  get steps(): number {
    return this.engine.steps;
  }

  /** Steps of the whole run. */
  get wanted(): number {
    return this.run.plan.steps;
  }

  /** λ, and how it came about. */
  get lambda(): SparsityCoefficient {
    return this.run.lambda;
  }

  /** The newest line of the curve. */
  get last(): MetricsRecord | undefined {
    return this.curve.last;
  }

  /** Will the step after `steps` look at inputs? Then a source that passes once must not have gone on. */
  looksAtInputs(steps: number): boolean {
    return this.run.config.resampleAt.includes(steps + 1);
  }

  /**
   * One step, with all that belongs to it.
   *
   * @throws Refusal where the loss is no longer finite
   */
  async step(batch: ActivationArray): Promise<void> {
    const { config, plan, lambda } = this.run;
    const at = plan.at(this.steps, lambda.value);
    const metrics = await this.engine.step(batch, at);
    checkFinite(metrics, this.steps, config);
    this.log.add(metrics);
    if (config.resampleAt.includes(this.steps)) await this.resample(at.l1);
    if (this.steps % config.logEvery === 0 || this.steps === plan.steps) {
      await this.curve.append(this.log.line(this.steps, metrics, at.lr));
    }
    if (this.clock.due(this.steps)) await this.save();
  }

  /** Writes a checkpoint of the steps done. */
  async save(): Promise<void> {
    const { config, fixed, estimates, settings } = this.run;
    const { steps } = this;
    const state = await this.engine.state();
    await writeCheckpoint(
      config.out,
      { steps, rows: steps * config.batch, settings: fixed, estimates, metricSums: this.log.state(), state },
      stateShapes(settings),
      config.keepCheckpoints,
    );
    this.clock.written(steps);
  }

  /** Writes the SAE, which makes the checkpoints superfluous. */
  async finish(): Promise<void> {
    const { config, source, fixed, settings, plan, lambda } = this.run;
    const sae = scaleActivations(await this.engine.sae(), 1 / settings.scale);
    Object.assign(sae.parameters, await frozenBiases(config, settings));
    await saveSae(config.out, sae, metadata(source.about, fixed, settings, plan.steps, lambda, this.last));
    await removeCheckpoints(config.out);
    await removeRunFile(config.out);
  }

  async close(): Promise<void> {
    await this.curve.close();
    await this.engine.close();
  }

  /** Gives dead features new directions (paper, appendix D); another engine then goes on from the changed state. */
  private async resample(l1: number): Promise<void> {
    const { config, source, batches, settings, engineName, say, open } = this.run;
    const { steps } = this;
    const state = await this.engine.state();
    const dead = deadFeatures(state, config.deadWindow);
    if (dead.length === 0) {
      say(`Step ${steps}: no feature is dead, none is resampled.`);
      return;
    }
    const draw = { batches, about: source.about, most: config.resampleInputs, step: steps, seed: config.seed, l1 };
    // The CUDA engine needs no ONNX Runtime on the GPU, and there may be none.
    const where = engineName === 'cuda' ? { ...settings, device: 'cpu' } : settings;
    const { drawn, inputs } = await drawInputs(await this.engine.sae(), dead.length, draw, where);
    const features = dead.slice(0, drawn.length);
    resampleFeatures(state, features, drawn, settings);
    await this.engine.close();
    this.engine = await open(engineName, settings, state, steps);
    this.log.resampled(features.length);
    say(`Step ${steps}: ${features.length} of ${dead.length} dead features resampled among ${inputs} inputs.`);
  }
}

/** What resampling would change must not be frozen; r_mag may be (--ablate no-r-mag), it becomes 0 anyway. */
function checkResampling({ resampleAt }: TrainConfig, settings: EngineSettings): void {
  if (resampleAt.length === 0) return;
  const frozen = PARAMETERS[settings.architecture].filter((name) => name !== 'r_mag' && !isTrained(settings, name));
  if (frozen.length === 0) return;
  throw new UsageRefusal(
    `--resample-at would change ${frozen.join(', ')}, which --train leaves as they are.`,
    'Leave one of the two out.',
  );
}

function checkFinite(metrics: StepMetrics, step: number, config: TrainConfig): void {
  const loss = metrics.mse + metrics.l1 + metrics.aux;
  if (Number.isFinite(loss)) return;
  throw new Refusal(
    `The loss is ${loss} at step ${step} (learning rate ${config.lr}).`,
    'Use a smaller --lr; what checkpoints were written before are kept in --out.',
  );
}
