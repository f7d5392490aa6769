import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import type { Batch } from '../activations/activation-source.js';
import { recipeSentence } from '../config/recipes.js';
import type { TrainConfig } from '../config/stages/train.js';
import type { JsonLines } from '../disk/growing-file.js';
import { type DirectoryLock, requireStillOwner } from '../disk/lock.js';
import { lockOutputDirectory } from '../disk/output-directory.js';
import { memoryLine } from '../disk/space.js';
import { Interrupted } from '../errors/refusal.js';
import type { StopRequest } from '../progress/progress.js';
import { scaleActivations } from '../sae/convert.js';
import type { Sae } from '../sae/sae.js';
import { CFG_FILE, saveSae } from '../sae/saelens.js';
import type { MetricsLine } from '../sae/training-curve.js';
import { inRawCoordinates } from './coordinates.js';
import { type Engine, sizesOf, type TrainerState } from './engines/engine.js';
import { openEngine } from './engines/open.js';
import { isTrained, saeOf, stateShapes } from './engines/state.js';
import { engineLosses, openInputLosses } from './input-losses.js';
import type { MetricsLog } from './metrics-log.js';
import { checkLoss, type FailedStep, findBroken, refusalOfBroken } from './not-finite.js';
import { type Feed, type OpenRun, openRun, type Run, type Say } from './open-run.js';
import { deadFeatures, drawInputs, resampleFeatures } from './resampling.js';
import { claimOptions, kept, tidyFinished } from './run-directory.js';
import { metadata } from './run-settings.js';
import { withWholeMean } from './running-mean.js';
import type { TargetL0 } from './target-l0.js';
import { Tracking } from './tracking.js';
import { CheckpointClock, newestCheckpoint, writeCheckpoint } from './training-checkpoint.js';

/**
 * One SAE in training: takes batches one after another, and manages schedule, curve, checkpoints and resampling. The
 * caller decides where batches come from and what else runs in parallel; the same batches give the same bytes.
 */
export class Trainer {
  private readonly clock: CheckpointClock;
  private readonly run: Run;
  private readonly engine: Engine;
  private readonly log: MetricsLog;
  private readonly curve: JsonLines<MetricsLine>;
  /** Steps after which features were resampled. */
  private readonly resampledAt: number[];
  /** Adjusts λ, if it is not constant. */
  private readonly adjusted: TargetL0 | undefined;

  private constructor(
    { run, engine, log, curve, resampledAt, adjusted }: OpenRun,
    private readonly lock: DirectoryLock,
    /** Points for TensorBoard, if requested. */
    private readonly tracking: Tracking | undefined,
  ) {
    this.adjusted = adjusted;
    [this.run, this.engine, this.log, this.curve, this.resampledAt] = [run, engine, log, curve, resampledAt];
    this.clock = new CheckpointClock(run.config.checkpointEvery, engine.steps);
  }

  /**
   * Opens a run, or resumes it from its checkpoint. Everything that can be checked in advance is checked first,
   * including opening the engine; until then nothing on disk changes, except that the directory is locked.
   *
   * @param open opens an engine; tests substitute another
   * @returns the trainer, or undefined if --resume finds the SAE finished
   */
  static async open(
    config: TrainConfig,
    feed: Feed,
    say: Say,
    stop: StopRequest,
    open = openEngine,
  ): Promise<Trainer | undefined> {
    const lock = await lockOutputDirectory(config.out, claimOptions(config, say));
    let tracking: Tracking | undefined;
    let trainer: Trainer | undefined;
    try {
      if (config.recipe) say(recipeSentence(config.recipe));
      tracking = await Tracking.claim(config, say);
      const opened = await openRun(config, feed, say, stop, open);
      trainer = opened && new Trainer(opened, lock, tracking);
    } finally {
      if (!trainer) {
        await tracking?.close();
        await lock.release();
      }
    }
    if (trainer) await trainer.track(config);
    return trainer;
  }

  /** Starts the points for TensorBoard; if they cannot be written, the run is closed. */
  private async track(config: TrainConfig): Promise<void> {
    try {
      await this.tracking?.begin(config, this.steps);
    } catch (error) {
      await this.close();
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

  /** The engine's own memory for batches, if it has any. */
  get buffers(): readonly Batch[] {
    return this.engine.buffers ?? [];
  }

  /** λ and its derivation, in words. */
  get aboutLambda(): string {
    return [this.run.lambda.sentence, this.adjusted?.sentence ?? []].flat().join(' ');
  }

  /** λ of the next step, apart from its warm-up; in the engines' convention. */
  private get lambda(): number {
    return this.adjusted?.lambda ?? this.run.lambda.value;
  }

  /** Upper bound on the run's memory, in words. */
  get memory(): string {
    return memoryLine(this.run.memory);
  }

  /** The last line of the curve. */
  get last(): MetricsLine | undefined {
    return this.curve.last;
  }

  /** Will the step after `steps` sample inputs? Then a source that can be read only once must not have advanced. */
  looksAtInputs(steps: number): boolean {
    return this.run.config.resampleAt.includes(steps + 1);
  }

  /**
   * One step, with everything that belongs to it.
   *
   * @param own whether rows of the batch may be changed
   * @throws Refusal if the loss or the resulting state is not finite
   * @throws Interrupted if a stop comes while inputs are sampled; the checkpoint is from the step before then
   */
  async step(batch: Batch, own = false): Promise<void> {
    const { config, plan, about } = this.run;
    // Sampling inputs may take minutes, and interrupting it must cost no more than this step.
    if (this.looksAtInputs(this.steps) && this.clock.lastStep < this.steps) await this.save();
    const at = plan.at(this.steps, this.lambda, this.resampledAt);
    const rows = this.run.ordinary?.batch(batch, own) ?? batch;
    const metrics = await this.engine.step(rows, at);
    await checkLoss(metrics, rows, about.dtype, at, () => this.failedStep());
    if (!Number.isFinite(metrics.written ?? 0))
      this.checkState(await this.engine.state(), await this.failedStep(), at.lr);
    this.adjusted?.observe(this.steps - 1, metrics.l0);
    this.log.add(metrics);
    if (config.resampleAt.includes(this.steps)) await this.resample(at.l1);
    if (this.steps % config.logEvery === 0 || this.steps === plan.steps) {
      const line = this.log.line(this.steps, metrics, at.lr, this.adjusted && at.l1);
      await this.curve.append(line);
      await this.tracking?.line(line);
    }
    const due = this.clock.due(this.steps);
    if (due) await this.save();
    if (this.tracking && (due || this.steps === plan.steps)) await this.trackDensity(this.tracking, rows);
  }

  /**
   * Writes a checkpoint of the steps done.
   *
   * @throws Refusal if the state is not finite: the previous checkpoint is kept
   */
  async save(): Promise<void> {
    const { config, fixed, estimates, settings, batches, ordinary } = this.run;
    const { steps } = this;
    const state = await this.state();
    // First: a curve that ends before its checkpoint would have a permanent gap.
    await this.curve.sync();
    await this.tracking?.sync();
    await writeCheckpoint(
      config.out,
      {
        steps,
        rows: steps * config.batch,
        settings: fixed,
        estimates,
        metricSums: this.log.state(),
        resampledAt: this.resampledAt,
        text: batches.textRead?.(steps * config.batch),
        adjustment: this.adjusted?.state,
        leftOut: ordinary?.left,
        state,
      },
      stateShapes(settings),
      config.keepCheckpoints,
    );
    this.clock.written(steps);
  }

  /** Writes the SAE. The last checkpoint is kept for training it further, unless --discard-state is given. */
  async finish(): Promise<void> {
    const { config, about, batches, ordinary, fixed, settings, frozen, plan } = this.run;
    const { factors, subspace } = this.run.estimates;
    const trained = this.asSaved(await this.engine.sae());
    const { scale, scaleOut = scale } = settings;
    const sae = factors ? inRawCoordinates(trained, factors) : scaleActivations(trained, 1 / scale, 1 / scaleOut);
    Object.assign(sae.parameters, frozen);
    this.checkState(new Map(Object.entries(sae.parameters)), await this.failedStep());
    await this.curve.sync();
    await this.tracking?.sync();
    if (!config.discardState && this.clock.lastStep !== this.steps) await this.save();
    await requireStillOwner(config.out);
    // For a run that was trained further: its old cfg.json must not accompany the new weights.
    await rm(join(config.out, CFG_FILE), { force: true });
    const text = batches.textRead?.(plan.steps * config.batch);
    const parts = { about, fixed, settings, steps: plan.steps, lambda: this.lambda, leftOut: ordinary?.left, subspace };
    await saveSae(config.out, sae, metadata(parts, this.last, text));
    await tidyFinished(config, plan.steps);
  }

  async close(): Promise<void> {
    try {
      await this.tracking?.close();
      await this.curve.close();
      await this.engine.close();
    } finally {
      await this.lock.release();
    }
  }

  private async trackDensity(tracking: Tracking, batch: Batch): Promise<void> {
    const { coordinates, settings } = this.run;
    const sae = this.asSaved(saeOf(settings, await this.engine.state()));
    await tracking.density(this.steps, { sae, batch: coordinates?.batch(batch) ?? batch, settings });
  }

  /** The state as an SAE; a mean from --init was already complete. */
  private asSaved(sae: Sae): Sae {
    const { config, settings } = this.run;
    return config.init === undefined ? withWholeMean(sae, settings, this.steps) : sae;
  }

  /** The engine's state, checked to be finite. */
  private async state(): Promise<TrainerState> {
    const state = await this.engine.state();
    this.checkState(state, await this.failedStep());
    return state;
  }

  private checkState(state: TrainerState, at: FailedStep, lr?: number): void {
    const { settings } = this.run;
    const broken = findBroken(state, sizesOf(settings).dOut, isTrained(settings, 'W_dec'));
    if (broken) throw refusalOfBroken(broken, lr, at);
  }

  private async failedStep(): Promise<FailedStep> {
    return { step: this.steps, checkpoint: await newestCheckpoint(this.run.config.out) };
  }

  /** Gives dead features new directions (paper, appendix D); the engine continues from the changed state. */
  private async resample(l1: number): Promise<void> {
    const { config, seen, batches, plan, settings, say, stop } = this.run;
    const { steps } = this;
    const state = await this.state();
    const dead = deadFeatures(state, config.deadWindow);
    if (dead.length === 0) {
      say(`Step ${steps}: no feature is dead, so none is resampled.`);
      return;
    }
    const draw = {
      batches,
      about: seen,
      most: config.resampleInputs,
      step: steps,
      seed: config.seed,
      stop,
    };
    const losses = engineLosses(this.engine, l1) ?? (await openInputLosses(await this.engine.sae(), settings, l1));
    const { drawn, inputs } = await drawInputs(losses, dead.length, draw, settings).catch((cause) => {
      throw cause instanceof Interrupted
        ? new Interrupted(cause.signal, kept(steps - 1, plan.steps, config.out))
        : cause;
    });
    const features = dead.slice(0, drawn.length);
    resampleFeatures(state, features, drawn, settings);
    await this.engine.load(state);
    this.log.resampled(features.length);
    if (features.length > 0) this.resampledAt.push(steps);
    say(`Step ${steps}: ${features.length} of ${dead.length} dead features resampled from ${inputs} inputs.`);
  }
}
