import type { ActivationSource, Batches, SourceDescription } from '../activations/activation-source.js';
import { writeRunFile } from '../config/run-file.js';
import type { TrainConfig } from '../config/stages/train.js';
import type { JsonLines } from '../disk/growing-file.js';
import { claimOutputDirectory } from '../disk/output-directory.js';
import { checkFreeSpace, type MemoryParts, PROGRAM_MEMORY, THREAD_MEMORY } from '../disk/space.js';
import { Interrupted } from '../errors/refusal.js';
import { type StopRequest, silent } from '../progress/progress.js';
import { NOTHING_BEGUN, throwIfStopped } from '../progress/stop.js';
import { saeDirectory } from '../sae/published/open.js';
import type { Parameters } from '../sae/sae.js';
import type { MetricsLine } from '../sae/training-curve.js';
import type { TrainingRecord, WrittenRecord } from '../sae/training-record.js';
import { type Coordinates, normalizationOf } from './coordinates.js';
import { DENSITY_ENTRIES } from './density.js';
import type { Engine, EngineSettings } from './engines/engine.js';
import {
  checkMemory,
  chooseEngine,
  type EngineName,
  memoryNeeded,
  type openEngine,
  threadsOf,
} from './engines/open.js';
import { stateBytes, stateShapes } from './engines/state.js';
import { type Estimates, type KnownNorms, looksBefore, mayLeaveOut, mostSampled, sampleRows } from './estimates.js';
import { MOST_LOSS_ENTRIES } from './input-losses.js';
import { knownOf, remark } from './known-activations.js';
import { MetricsLog, openCurve } from './metrics-log.js';
import type { OrdinaryRows } from './ordinary-rows.js';
import { checkResampling } from './resampling.js';
import { withOwnThreads } from './resumed-config.js';
import { claimOptions, finishedIn, kept, stateNotKept, tidyFinished } from './run-directory.js';
import {
  activationScales,
  adjustmentOf,
  checkFlags,
  continuedCourse,
  engineSettings,
  lambdaOf,
  metadata,
  newCourse,
} from './run-settings.js';
import { checkResampleSteps, type Schedule, type SparsityCoefficient } from './schedule.js';
import { frozenParameters, openInit, startingPoint } from './starting-point.js';
import { checkSubspace, subspaceBytes } from './subspace.js';
import type { TargetL0 } from './target-l0.js';
import { readCheckpoint } from './training-checkpoint.js';

/** Data source of a run. */
export interface Feed {
  readonly source: ActivationSource;
  /**
   * Batches of the source; only `begin` advances them. Sampling reads the source each time, except with `sampledOnce`.
   */
  readonly batches: Batches;
  /** Given the steps done, checks that rows are available; called before anything on disk changes. */
  readonly begin?: (steps: number) => Promise<void>;
}

/** Receives log lines. */
export type Say = (line: string) => void;

/** The constants of a run. */
export interface Run {
  readonly config: TrainConfig;
  /** Upper bound on its memory. */
  readonly memory: MemoryParts;
  readonly batches: Batches;
  /** Recorded properties of the source. */
  readonly about: SourceDescription;
  /** The rule for leaving rows out of batches. */
  readonly ordinary: OrdinaryRows | undefined;
  /** The source as seen by the engine. */
  readonly seen: SourceDescription;
  /** Coordinates in which the engine sees its activations, if not just scaled. */
  readonly coordinates: Coordinates | undefined;
  readonly plan: Schedule;
  readonly fixed: WrittenRecord;
  readonly settings: EngineSettings;
  /** Frozen parameters from --init, if their scale differs during training. */
  readonly frozen: Parameters;
  readonly engineName: EngineName;
  readonly estimates: Estimates;
  readonly lambda: SparsityCoefficient;
  readonly say: Say;
  readonly stop: StopRequest;
}

/** A run about to take its next step. Whoever opened it closes engine and curve. */
export interface OpenRun {
  readonly run: Run;
  readonly engine: Engine;
  readonly log: MetricsLog;
  readonly curve: JsonLines<MetricsLine>;
  /** Steps after which features were resampled. */
  readonly resampledAt: number[];
  /** Adjusts λ, if it is not constant. */
  readonly adjusted?: TargetL0;
}

/**
 * Opens a run, or resumes it from its checkpoint; the caller owns config.out. Everything that can be checked in advance
 * is checked first, including opening the engine; nothing on disk changes until then.
 *
 * @returns undefined if --resume finds the SAE finished
 */
export async function openRun(
  given: TrainConfig,
  { source, batches, begin }: Feed,
  say: Say,
  stop: StopRequest,
  open: typeof openEngine,
): Promise<OpenRun | undefined> {
  const { about } = source;
  checkResampleSteps(given);
  checkFlags(given);
  // run.json says which.
  const config = { ...(await withOwnThreads(given, say)), normalize: normalizationOf(given) };
  const sizes = engineSettings(config, about);
  checkSubspace(config, sizes);
  const from = config.init && (await saeDirectory(config.init, config, { ...silent, say }, stop));
  const init = await openInit(config, about, sizes, from);
  const initSha256 = init?.unchanged.digest;
  const { resume, out } = config;
  const finished = resume ? await finishedIn(out) : undefined;
  const continued = (path: string, found: TrainingRecord, done: number) =>
    continuedCourse(path, found, done, config, about, initSha256);
  if (finished && continued(finished.path, finished.settings, finished.steps).plan.steps === finished.steps) {
    // If the rows are read anyway, they must come from the text it was trained on.
    const { text } = finished.settings;
    if (text) batches.expectText?.(text);
    await tidyFinished(config, finished.steps);
    return undefined;
  }
  // A resumed run may have a different course.
  const begun = resume ? undefined : newCourse(config, about, initSha256);
  checkResampling(config, sizes);
  const engineName = chooseEngine(config, sizes);
  checkMemory(engineName, sizes);
  // A new checkpoint is written before old ones are removed.
  await checkFreeSpace(out, (config.keepCheckpoints + 1) * stateBytes(sizes));
  const found = resume ? await readCheckpoint(out, continued, stateShapes(sizes), say) : undefined;
  const checkpoint = found?.checkpoint;
  if (finished && !(checkpoint && checkpoint.steps >= finished.steps)) throw stateNotKept(out, finished.steps);
  const { plan, fixed: asked } = found?.course ?? begun ?? newCourse(config, about, initSha256);
  const left = checkpoint ? kept(checkpoint.steps, plan.steps, out) : NOTHING_BEGUN;
  // The message for waiting for rows does not mention checkpoints.
  const saying = (error: unknown): never => {
    throw error instanceof Interrupted ? new Interrupted(error.signal, left) : error;
  };
  const looking = { config, about, batches, say, stop };
  const known = await knownOf(looking, asked, checkpoint).catch(saying);
  const { estimates, ordinary, described, coordinates, seen, sampled, fixed, own } = known;
  const settings = engineSettings(config, about, activationScales(config, about, estimates), estimates.factors);
  const lambda = lambdaOf(config, settings, estimates);
  const adjusted = adjustmentOf(config, settings, plan, lambda, checkpoint?.adjustment);
  const sample = (rows: number) => sampleRows(sampled, seen, rows, stop);
  const looks = !checkpoint && looksBefore(config, settings.architecture, about);
  if (looks) await remark(looking, described.normLimit).catch(saying);
  const start = checkpoint ?? (await startingPoint(config, settings, init, sample, say).catch(saying));
  const estimated = 'subspace' in start ? { ...estimates, subspace: start.subspace } : estimates;
  const frozen = await frozenParameters(settings, init);
  throwIfStopped(stop, left);
  const engine = await open(engineName, settings, start.state, checkpoint?.steps);
  try {
    if (checkpoint?.text) batches.expectText?.(checkpoint.text);
    await begin?.(engine.steps);
    throwIfStopped(stop, left);
    await claimOutputDirectory(out, claimOptions(config));
    const parts = { about: described, fixed, settings, steps: plan.steps, subspace: estimated.subspace };
    await writeRunFile(out, metadata({ ...parts, lambda: adjusted ? null : lambda.value }), own);
    const curve = await openCurve(out, engine.steps, config.logEvery, say);
    const log = new MetricsLog(settings, checkpoint?.metricSums);
    const memory = trainingMemory(config, settings, engineName, source);
    const run = {
      ...{ config: own, memory, about: described, batches: sampled, ordinary, seen },
      ...{ coordinates, plan, fixed, settings, frozen, engineName, estimates: estimated, lambda, say, stop },
    };
    return { run, engine, log, curve, adjusted, resampledAt: [...(checkpoint?.resampledAt ?? [])] };
  } catch (error) {
    await engine.close();
    return saying(error);
  }
}

/** Number of arrays of the input-loss graph held at a time. */
const LOSS_VALUES = 8;
/** Copies of sampled rows as float32: raw, scaled, the current chunk, and one not yet garbage-collected. */
const SAMPLE_COPIES = 4;
/** A batch in the engine, and one being gathered. */
const BATCHES = 2;
/** For samples before the first step: the sample itself, and a derived one or one not yet garbage-collected. */
const SAMPLES = 2;
/**
 * A state being written to a checkpoint: from the workers, assembled, and the previous one, not yet garbage-collected.
 */
const STATES = 3;

/** The properties of a source that determine the memory of training on it. */
interface MemorySource extends Pick<ActivationSource, 'memory'> {
  readonly about: KnownNorms & Pick<SourceDescription, 'rows' | 'normLimit'>;
}

/** Max memory of training in bytes: the engine reserves all it can ever need, and touches it on demand. */
export function trainingMemory(
  config: TrainConfig,
  settings: EngineSettings,
  engine: EngineName,
  source: MemorySource,
): MemoryParts {
  const { dIn, dOut = 0, dSae, batch } = settings;
  // For the rows in batches.
  const width = dIn + dOut;
  const { about } = source;
  const { held, pieceRows } = source.memory(config.order);
  const resamples = config.resampleAt.length > 0;
  const looks = resamples || looksBefore(config, settings.architecture, about);
  const resampled = looks ? SAMPLE_COPIES * 4 * pieceRows * width : 0;
  const losses = resamples ? LOSS_VALUES * 4 * Math.min(MOST_LOSS_ENTRIES, pieceRows * dSae) : 0;
  const sampled = Math.min(mostSampled(config, settings.architecture, about), about.rows);
  // Complete pieces, including token, context and position, until rows are dealt.
  const looking = sampled > 0 ? 4 * Math.min(sampled + pieceRows, about.rows) * (width + 3) : 0;
  // Without rows that are too long.
  const changed = mayLeaveOut(config) && !about.normLimit ? 1 : 0;
  return {
    engine: memoryNeeded(engine, settings),
    checkpoints: STATES * stateBytes(settings),
    // Resampling holds the state that it changes, the current SAE, and parts of one array on their way back.
    resampling: resampled + losses + (resamples ? 2 * stateBytes(settings) : 0),
    sample: SAMPLES * 4 * sampled * width + subspaceBytes(config, settings),
    // The current SAE, and its features on a few rows.
    ...(config.logDir !== undefined && { tracking: stateBytes(settings) + 4 * 4 * DENSITY_ENTRIES }),
    rows: Math.max(held, looking) + (BATCHES + changed) * 4 * batch * width,
    program: PROGRAM_MEMORY + THREAD_MEMORY * threadsOf(engine, settings),
  };
}
