import { join } from 'node:path';
import type { ActivationArray } from '../activations/arrow-files.js';
import type { ActivationSource, Batches } from '../activations/source.js';
import { Interrupted } from '../config/refusal.js';
import type { TrainConfig } from '../config/stages.js';
import { checkFreeSpace } from '../disk/free-space.js';
import { JsonLines } from '../disk/json-lines.js';
import type { DirectoryLock } from '../disk/lock.js';
import { claimOutputDirectory, lockOutputDirectory } from '../disk/output-directory.js';
import { memoryLine } from '../progress/memory-line.js';
import type { StopRequest } from '../progress/progress.js';
import { NOTHING_BEGUN, throwIfStopped } from '../progress/unless-stopped.js';
import { scaleActivations } from '../sae/activation-scale.js';
import { saveSae } from '../sae/saelens.js';
import { newestCheckpoint, readCheckpoint, removeCheckpoints, writeCheckpoint } from './checkpoint.js';
import { CheckpointClock } from './checkpoint-clock.js';
import type { Engine, EngineSettings, TrainerState } from './engines/engine.js';
import { isTrained } from './engines/objective.js';
import { checkMemory, chooseEngine, type EngineName, openEngine } from './engines/open.js';
import { stateBytes, stateShapes } from './engines/state.js';
import { type Estimates, estimate, medianActivation } from './estimates.js';
import { finishedBefore } from './finished.js';
import { poisonIn } from './finite-state.js';
import { trainingMemory } from './memory-bound.js';
import { MetricsLog } from './metrics.js';
import { METRICS_FILE, type MetricsRecord } from './metrics-record.js';
import { checkLoss, poisoned, type Standing } from './not-finite.js';
import { checkResampling, deadFeatures, drawInputs, resampleFeatures } from './resampling.js';
import { claimOptions, kept } from './run-directory.js';
import { removeRunFile, writeRunFile } from './run-file.js';
import { activationScale, engineSettings, fixedSettings, metadata, stepsOf } from './run-settings.js';
import { type Schedule, schedule } from './schedule.js';
import { type SparsityCoefficient, sparsityCoefficient } from './sparsity-coefficient.js';
import { frozenBiases, startingPoint } from './starting-point.js';

/** What a run is fed from. */
export interface Fed {
  readonly source: ActivationSource;
  /** Of the source; only `begin` moves them. */
  readonly batches: Batches;
  /** Given the steps done, makes sure that rows can come; called before anything on disk changes. */
  readonly begin?: (steps: number) => Promise<void>;
}

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
  readonly stop: StopRequest;
}

/**
 * One SAE in training: takes batches one after another, and keeps schedule, curve, checkpoints and resampling. Who
 * feeds it decides where batches come from and what else runs beside it; the same batches give the same bytes.
 */
export class Trainer {
  private readonly clock: CheckpointClock;

  private constructor(
    private readonly run: Run,
    private readonly engine: Engine,
    private readonly log: MetricsLog,
    private readonly curve: JsonLines<MetricsRecord>,
    private readonly lock: DirectoryLock,
  ) {
    this.clock = new CheckpointClock(run.config.checkpointEvery, engine.steps);
  }

  /**
   * Opens a run, or what its checkpoint left of it. Everything that can be known before is checked first, the engine
   * included; nothing on disk changes until then, but that the directory has an owner.
   *
   * @param open opens an engine; tests put another device in its place
   * @returns the trainer, or undefined where --resume finds the SAE finished
   */
  static async open(
    config: TrainConfig,
    fed: Fed,
    say: Say,
    stop: StopRequest,
    open = openEngine,
  ): Promise<Trainer | undefined> {
    const lock = await lockOutputDirectory(config.out, claimOptions(config));
    let trainer: Trainer | undefined;
    try {
      trainer = await Trainer.openIn(lock, config, fed, say, stop, open);
      return trainer;
    } finally {
      if (!trainer) await lock.release();
    }
  }

  private static async openIn(
    lock: DirectoryLock,
    config: TrainConfig,
    { source, batches, begin }: Fed,
    say: Say,
    stop: StopRequest,
    open: typeof openEngine,
  ): Promise<Trainer | undefined> {
    const { about } = source;
    const plan = schedule(config, stepsOf(config, about));
    const fixed = fixedSettings(config, about, plan);
    const { resume, out } = config;
    if (resume && (await finishedBefore(out, fixed))) return undefined;
    const sizes = engineSettings(config, about, 1);
    checkResampling(config, sizes);
    const engineName = chooseEngine(config, sizes.architecture);
    checkMemory(engineName, sizes);
    // A new checkpoint is written beside those that are kept.
    await checkFreeSpace(out, (config.keepCheckpoints + 1) * stateBytes(sizes));
    const checkpoint = resume ? await readCheckpoint(out, fixed, stateShapes(sizes), say) : undefined;
    const left = checkpoint ? kept(checkpoint.steps, plan.steps, out) : NOTHING_BEGUN;
    // Who waits for rows knows nothing of checkpoints.
    const saying = (error: unknown): never => {
      throw error instanceof Interrupted ? new Interrupted(error.signal, left) : error;
    };
    const estimates = checkpoint?.estimates ?? (await estimate(config, about, batches, stop).catch(saying));
    const scale = activationScale(config, about, estimates);
    const settings = engineSettings(config, about, scale);
    const lambda = sparsityCoefficient(config, { dIn: about.dIn, scale, meanSquare: estimates.meanSquare });
    const median = () => medianActivation(about, batches, stop);
    const start = checkpoint?.state ?? (await startingPoint(config, settings, median).catch(saying));
    throwIfStopped(stop, left);
    const engine = await open(engineName, settings, start, checkpoint?.steps);
    try {
      await begin?.(engine.steps);
      throwIfStopped(stop, left);
      await claimOutputDirectory(out, claimOptions(config));
      await writeRunFile(out, metadata(about, fixed, settings, plan.steps, lambda, undefined));
      const keep = (line: MetricsRecord) => line.step <= engine.steps;
      const curve = await JsonLines.open<MetricsRecord>(join(out, METRICS_FILE), { keep });
      const log = new MetricsLog(config.dSae, config.batch, checkpoint?.metricSums);
      const run = { config, source, batches, plan, fixed, settings, engineName, estimates, lambda, say, stop };
      return new Trainer(run, engine, log, curve, lock);
    } catch (error) {
      await engine.close();
      return saying(error);
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

  /** What the run takes of memory at most, in words. */
  get memory(): string {
    const { config, settings, engineName, source } = this.run;
    return memoryLine(trainingMemory(config, settings, engineName, source));
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
   * @throws Refusal where the loss is not finite, or what the step leaves is not
   * @throws Interrupted where a stop comes while inputs are looked at; the checkpoint is of the step before then
   */
  async step(batch: ActivationArray): Promise<void> {
    const { config, plan, lambda } = this.run;
    // Looking at inputs may take minutes, and what stops it must cost no more than this step.
    if (this.looksAtInputs(this.steps) && this.clock.lastStep < this.steps) await this.save();
    const at = plan.at(this.steps, lambda.value);
    const metrics = await this.engine.step(batch, at);
    await checkLoss(metrics, batch, at, () => this.standing());
    if (!Number.isFinite(metrics.written ?? 0))
      this.checkState(await this.engine.state(), await this.standing(), at.lr);
    this.log.add(metrics);
    if (config.resampleAt.includes(this.steps)) await this.resample(at.l1);
    if (this.steps % config.logEvery === 0 || this.steps === plan.steps) {
      await this.curve.append(this.log.line(this.steps, metrics, at.lr));
    }
    if (this.clock.due(this.steps)) await this.save();
  }

  /**
   * Writes a checkpoint of the steps done.
   *
   * @throws Refusal where the state is not finite: what was kept before stays
   */
  async save(): Promise<void> {
    const { config, fixed, estimates, settings } = this.run;
    const { steps } = this;
    const state = await this.state();
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
    this.checkState(new Map(Object.entries(sae.parameters)), await this.standing());
    await saveSae(config.out, sae, metadata(source.about, fixed, settings, plan.steps, lambda, this.last));
    await removeCheckpoints(config.out);
    await removeRunFile(config.out);
  }

  async close(): Promise<void> {
    try {
      await this.curve.close();
      await this.engine.close();
    } finally {
      await this.lock.release();
    }
  }

  /** The engine's state, which is finite. */
  private async state(): Promise<TrainerState> {
    const state = await this.engine.state();
    this.checkState(state, await this.standing());
    return state;
  }

  private checkState(state: TrainerState, standing: Standing, lr?: number): void {
    const { settings } = this.run;
    const poison = poisonIn(state, settings.dIn, isTrained(settings, 'W_dec'));
    if (poison) throw poisoned(poison, lr, standing);
  }

  private async standing(): Promise<Standing> {
    return { step: this.steps, checkpoint: await newestCheckpoint(this.run.config.out) };
  }

  /** Gives dead features new directions (paper, appendix D): the engine goes on from the changed state. */
  private async resample(l1: number): Promise<void> {
    const { config, source, batches, plan, settings, engineName, say, stop } = this.run;
    const { steps } = this;
    const state = await this.state();
    const dead = deadFeatures(state, config.deadWindow);
    if (dead.length === 0) {
      say(`Step ${steps}: no feature is dead, none is resampled.`);
      return;
    }
    const draw = {
      batches,
      about: source.about,
      most: config.resampleInputs,
      step: steps,
      seed: config.seed,
      l1,
      stop,
    };
    // The CUDA engine needs no ONNX Runtime on the GPU, and there may be none.
    const where = engineName === 'cuda' ? { ...settings, device: 'cpu' } : settings;
    const { drawn, inputs } = await drawInputs(await this.engine.sae(), dead.length, draw, where).catch((cause) => {
      throw cause instanceof Interrupted
        ? new Interrupted(cause.signal, kept(steps - 1, plan.steps, config.out))
        : cause;
    });
    const features = dead.slice(0, drawn.length);
    resampleFeatures(state, features, drawn, settings);
    await this.engine.load(state);
    this.log.resampled(features.length);
    say(`Step ${steps}: ${features.length} of ${dead.length} dead features resampled among ${inputs} inputs.`);
  }
}
