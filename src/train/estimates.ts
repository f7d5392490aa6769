import { z } from 'zod';
import type { Batches, SourceDescription, Target } from '../activations/activation-source.js';
import type { TrainConfig } from '../config/stages/train.js';
import { Refusal } from '../errors/refusal.js';
import type { StopRequest } from '../progress/progress.js';
import { NOTHING_BEGUN, throwIfStopped } from '../progress/stop.js';
import { trainingOf } from '../sae/registry.js';
import type { ArchitectureName } from '../sae/sae.js';
import { widen } from '../safetensors/floats.js';
import { beginsRaw, Coordinates, normalizationOf, perDimension } from './coordinates.js';
import type { Factors } from './engines/engine.js';
import { REMARK_ROWS } from './remarks.js';
import { BEFORE } from './sampled-once.js';

/** What a run must know about its activations before the first step; part of a checkpoint. */
export const estimatesSchema = z.object({
  /** E|x|, over the whole source if known, otherwise over a sample. */
  meanNorm: z.number().nonnegative(),
  /** E|y| likewise, if the target is not the input. */
  meanNormOut: z.number().nonnegative().optional(),
  /** E|y|² of the reconstructed activation, over a sample; null if not needed. */
  meanSquare: z.number().nonnegative().nullable(),
  /** Factors of --normalize per-dimension, [d_in], and [d_out] if the target is not the input. */
  factors: z
    .object({
      input: z.array(z.number().positive()).readonly(),
      target: z.array(z.number().positive()).readonly().optional(),
    })
    .optional(),
  /** From the norms of a sample; only if long activations are left out. */
  medianNorm: z.number().positive().optional(),
  /** Number of initial directions of features, if --init-subspace found fewer than there are dimensions. */
  subspace: z.object({ input: z.int().positive().optional(), target: z.int().positive().optional() }).optional(),
  /** E|x|² and E|y|², over a sample; only with --normalize unit-square. */
  square: z.number().nonnegative().optional(),
  squareOut: z.number().nonnegative().optional(),
});
export type Estimates = Readonly<z.infer<typeof estimatesSchema>>;

/** Sample size for estimating norms and scales. */
export const SAMPLE_ROWS = 65_536;

/** Are norms needed that the source does not know? */
function lacksNorms(config: TrainConfig, { meanNorm, target }: KnownNorms): boolean {
  return normalizationOf(config) === 'mean-norm' && (meanNorm === null || target?.meanNorm === null);
}

/** What a source may know about norms. */
export interface KnownNorms extends Pick<SourceDescription, 'meanNorm'> {
  readonly target?: Pick<Target, 'meanNorm'>;
}

/** Is the initialisation based on a sample? */
export function startsSparse({ start, init }: TrainConfig, architecture: ArchitectureName): boolean {
  return start === 'sparse' && init === undefined && trainingOf(architecture).sparseStart !== undefined;
}

/** Are the features' directions based on a sample? */
export function startsWithin({ initSubspace, init }: Pick<TrainConfig, 'initSubspace' | 'init'>): boolean {
  return initSubspace !== 'none' && init === undefined;
}

/** Is there a sample for estimating norms? */
function estimatesNorms(config: TrainConfig, about: KnownNorms): boolean {
  return config.l2Normalise || normalizationOf(config) === 'unit-square' || lacksNorms(config, about);
}

/** Are activations tested for being too long? */
export function mayLeaveOut(config: TrainConfig): boolean {
  const { maxActivationNormMultiple: multiple } = config;
  return multiple === undefined ? !beginsRaw(config) : multiple > 0;
}

/** Whether activations are sampled before the first step. */
export function looksBefore(config: TrainConfig, architecture: ArchitectureName, about: KnownNorms): boolean {
  const centre = config.init === undefined && config.bDecInit !== 'zero';
  return (
    normalizationOf(config) === 'per-dimension' ||
    mayLeaveOut(config) ||
    estimatesNorms(config, about) ||
    centre ||
    startsWithin(config) ||
    startsSparse(config, architecture)
  );
}

/** Max rows of the largest sample taken before the first step; 0 if there is none. */
export function mostSampled(
  config: TrainConfig,
  architecture: ArchitectureName,
  about: KnownNorms & Partial<Pick<SourceDescription, 'normLimit'>>,
): number {
  const byNorm = mayLeaveOut(config) && !about.normLimit;
  if (startsWithin(config)) return SAMPLE_ROWS;
  if (byNorm || normalizationOf(config) === 'per-dimension' || estimatesNorms(config, about)) return SAMPLE_ROWS;
  return looksBefore(config, architecture, about) ? REMARK_ROWS : 0;
}

/**
 * @throws Refusal if activations are zero, or overflow float32 once squared, and the run would divide by the estimate
 */
export async function estimate(
  config: TrainConfig,
  about: SourceDescription,
  batches: Batches,
  stop: StopRequest,
): Promise<Estimates> {
  const { place, dIn, target } = about;
  let { meanNorm } = about;
  let meanNormOut = target?.meanNorm;
  let meanSquare: number | null = null;
  const factors = normalizationOf(config) === 'per-dimension' ? await factorsOf(about, batches, stop) : undefined;
  const squares: { square?: number; squareOut?: number } = {};
  if (estimatesNorms(config, about)) {
    const seen = factors && new Coordinates(factors, about);
    const sample = await sampleRows(seen?.looking(batches) ?? batches, seen?.about ?? about, SAMPLE_ROWS, stop);
    const norms = normsOf(sample.x, dIn);
    const targets = target ? normsOf(sample.y!, target.dOut) : norms;
    meanNorm ??= mean(norms);
    if (target) meanNormOut ??= mean(targets);
    if (config.l2Normalise) meanSquare = mean(targets.map((norm) => norm * norm));
    if (normalizationOf(config) === 'unit-square') {
      squares.square = mean(norms.map((norm) => norm * norm));
      if (target) squares.squareOut = mean(targets.map((norm) => norm * norm));
    }
  }
  if (normalizationOf(config) === 'mean-norm') {
    checkScalable(place, scaleOf(meanNorm!, dIn), meanNorm!);
    if (target) checkScalable(targetsAt(place, target), scaleOf(meanNormOut!, target.dOut), meanNormOut!);
  }
  if (squares.square !== undefined) checkScalable(place, unitScale(squares.square), Math.sqrt(squares.square));
  if (target && squares.squareOut !== undefined) {
    checkScalable(targetsAt(place, target), unitScale(squares.squareOut), Math.sqrt(squares.squareOut));
  }
  if (meanSquare === 0) {
    throw new Refusal(
      `${place}: every activation is zero, but --l2-normalise divides by E|x|².`,
      'Omit --l2-normalise, or choose another hook.',
      'train/all-zero',
    );
  }
  return {
    meanNorm: meanNorm ?? 0,
    ...(target && { meanNormOut: meanNormOut ?? 0 }),
    meanSquare,
    ...(factors && { factors }),
    ...squares,
  };
}

/**
 * For --normalize per-dimension.
 *
 * @throws Refusal if activations do not vary
 */
async function factorsOf(about: SourceDescription, batches: Batches, stop: StopRequest): Promise<Factors> {
  const { dIn, target, place } = about;
  const { x, y } = await sampleRows(batches, about, SAMPLE_ROWS, stop);
  const input = perDimension(x, dIn) ?? throwAlike(place);
  return { input, ...(target && { target: perDimension(y!, target.dOut) ?? throwAlike(targetsAt(place, target)) }) };
}

function throwAlike(place: string): never {
  throw new Refusal(
    `${place}: all activations are equal, but --normalize per-dimension divides by their standard deviation.`,
    'Use --normalize none, or choose another hook.',
    'train/no-scale',
  );
}

/** Norms of rows of length d. */
function normsOf(values: Float32Array, d: number): Float64Array {
  return Float64Array.from({ length: values.length / d }, (_, row) => {
    const x = values.subarray(row * d, (row + 1) * d);
    return Math.sqrt(x.reduce((sum, value) => sum + value * value, 0));
  });
}

const mean = (values: Float64Array) => values.reduce((sum, value) => sum + value, 0) / values.length;

/** Factor that scales activations of width d to a mean norm of √d. */
export function scaleOf(meanNorm: number, d: number): number {
  return Math.sqrt(d) / meanNorm;
}

/** Factor that scales activations with this E|x|² to 1. */
export function unitScale(square: number): number {
  return 1 / Math.sqrt(square);
}

const targetsAt = (place: string, { hook }: Target) => `${place}, targets at ${hook}`;

/** @throws Refusal if the factor is not representable in float32 */
function checkScalable(place: string, factor: number, norm: number): void {
  const scale = Math.fround(factor);
  if (scale > 0 && scale < Number.POSITIVE_INFINITY) return;
  const what = norm === 0 ? 'every activation is zero' : `the mean norm of activations is ${norm}`;
  throw new Refusal(
    `${place}: ${what}, so --normalize mean-norm or unit-square cannot scale them.`,
    'Use --normalize none, or choose another hook.',
    'train/no-scale',
  );
}

/** Raw activations: x [rows × d_in], and y [rows × d_out] for a target that is not the input. */
export interface Sample {
  readonly x: Float32Array;
  readonly y?: Float32Array;
}

/** The first `most` rows of the source's inputs. */
export async function sampleRows(
  batches: Batches,
  { dIn, dtype, target }: SourceDescription,
  most: number,
  stop: StopRequest,
): Promise<Sample> {
  const dOut = target?.dOut ?? 0;
  if (most === 0) return { x: new Float32Array(0), ...(target && { y: new Float32Array(0) }) };
  const [x, y] = [new Float32Array(most * dIn), new Float32Array(most * dOut)];
  let filled = 0;
  for await (const piece of batches.inputs(BEFORE)) {
    throwIfStopped(stop, NOTHING_BEGUN);
    const rows = Math.min(piece.activation.length / dIn, most - filled);
    x.set(widen(piece.activation.subarray(0, rows * dIn), dtype), filled * dIn);
    if (target) y.set(widen(piece.target!.subarray(0, rows * dOut), dtype), filled * dOut);
    filled += rows;
    if (filled === most) break;
  }
  return { x: x.subarray(0, filled * dIn), ...(target && { y: y.subarray(0, filled * dOut) }) };
}
