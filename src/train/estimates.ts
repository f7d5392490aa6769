import type { Batches, SourceDescription } from '../activations/activation-source.js';
import type { TrainConfig } from '../config/stages.js';
import { Refusal } from '../errors/refusal.js';
import type { StopRequest } from '../progress/progress.js';
import { NOTHING_BEGUN, throwIfStopped } from '../progress/stop.js';
import { widen } from '../safetensors/floats.js';

/** What a run must know of its activations before the first step; part of a checkpoint. */
export interface Estimates {
  /** E|x|, of the whole source where it knows it, else of a sample. */
  readonly meanNorm: number;
  /** E|x|², of a sample; null where nothing asks for it. */
  readonly meanSquare: number | null;
}

/** Activations of the sample. */
const SAMPLE_ROWS = 65_536;
/** Activations whose geometric median is taken: more than a few thousand change it by less than its noise. */
const MEDIAN_ROWS = 8192;

/** The occasion of `Batches.inputs` that estimates take; resampling takes its step. */
const OCCASION = 0;

/** Are activations looked at before the first step? */
export function looksBefore(
  { l2Normalise, normalize, bDecInit }: TrainConfig,
  { meanNorm }: Pick<SourceDescription, 'meanNorm'>,
): boolean {
  return l2Normalise || (meanNorm === null && normalize === 'mean-norm') || bDecInit === 'geometric-median';
}

/** @throws Refusal when activations are zero, or beyond float32 once squared, and the run would divide by what is estimated */
export async function estimate(
  config: TrainConfig,
  about: SourceDescription,
  batches: Batches,
  stop: StopRequest,
): Promise<Estimates> {
  let { meanNorm } = about;
  let meanSquare: number | null = null;
  if (config.l2Normalise || (meanNorm === null && config.normalize === 'mean-norm')) {
    const sample = await sampleRows(batches, about, SAMPLE_ROWS, stop);
    const norms = Float64Array.from({ length: sample.length / about.dIn }, (_, row) => {
      const x = sample.subarray(row * about.dIn, (row + 1) * about.dIn);
      return Math.sqrt(x.reduce((sum, value) => sum + value * value, 0));
    });
    meanNorm ??= norms.reduce((sum, norm) => sum + norm, 0) / norms.length;
    if (config.l2Normalise) meanSquare = norms.reduce((sum, norm) => sum + norm * norm, 0) / norms.length;
  }
  if (config.normalize === 'mean-norm') checkScalable(meanNorm!, about);
  if (meanSquare === 0) {
    throw new Refusal(
      `${about.place}: every activation is zero, and --l2-normalise divides by E|x|².`,
      'Leave --l2-normalise out, or choose another hook.',
      'train/all-zero',
    );
  }
  return { meanNorm: meanNorm ?? 0, meanSquare };
}

/** @throws Refusal where √d_in / E|x| is no number of float32 */
function checkScalable(meanNorm: number, { place, dIn }: SourceDescription): void {
  const scale = Math.fround(Math.sqrt(dIn) / meanNorm);
  if (scale > 0 && scale < Number.POSITIVE_INFINITY) return;
  const what = meanNorm === 0 ? 'every activation is zero' : `the mean norm of activations is ${meanNorm}`;
  throw new Refusal(
    `${place}: ${what}, which --normalize mean-norm cannot scale.`,
    'Use --normalize none, or choose another hook.',
    'train/no-scale',
  );
}

/** The geometric median of a sample of raw activations, [d_in]. */
export async function medianActivation(
  about: SourceDescription,
  batches: Batches,
  stop: StopRequest,
): Promise<Float64Array> {
  return geometricMedian(await sampleRows(batches, about, MEDIAN_ROWS, stop), about.dIn);
}

/** The first `most` rows of the source's inputs, [rows × d_in]. */
async function sampleRows(
  batches: Batches,
  { dIn, dtype }: SourceDescription,
  most: number,
  stop: StopRequest,
): Promise<Float32Array> {
  const sample = new Float32Array(most * dIn);
  let filled = 0;
  for await (const { activation } of batches.inputs(OCCASION)) {
    throwIfStopped(stop, NOTHING_BEGUN);
    const values = widen(activation.subarray(0, Math.min(activation.length, sample.length - filled)), dtype);
    sample.set(values, filled);
    filled += values.length;
    if (filled === sample.length) break;
  }
  return sample.subarray(0, filled);
}

/** Weiszfeld's iteration ends when it moves less than this share of the points' spread. */
const TOLERANCE = 1e-6;
const MOST_ITERATIONS = 200;

/**
 * The point with the least Σ |x_i − m|, by Weiszfeld's iteration (Weiszfeld 1937) from the mean. Unlike the mean it is
 * not drawn by a few very long activations.
 *
 * @param points [rows × d]
 * @returns [d]
 */
export function geometricMedian(points: Float32Array, d: number): Float64Array {
  const rows = points.length / d;
  let median = weightedMean(points, d, () => 1);
  for (let iteration = 0; iteration < MOST_ITERATIONS; iteration++) {
    const distances = Float64Array.from({ length: rows }, (_, row) => distance(points, row, median));
    const spread = distances.reduce((sum, x) => sum + x, 0) / rows;
    if (spread === 0) break;
    // A point that the median lies on would have infinite weight.
    const next = weightedMean(points, d, (row) => 1 / Math.max(distances[row]!, 1e-9 * spread));
    const moved = Math.sqrt(next.reduce((sum, x, i) => sum + (x - median[i]!) ** 2, 0));
    median = next;
    if (moved < TOLERANCE * spread) break;
  }
  return median;
}

function weightedMean(points: Float32Array, d: number, weight: (row: number) => number): Float64Array {
  const sum = new Float64Array(d);
  let total = 0;
  for (let row = 0; row < points.length / d; row++) {
    const w = weight(row);
    total += w;
    for (let i = 0; i < d; i++) sum[i]! += w * points[row * d + i]!;
  }
  return sum.map((x) => x / total);
}

function distance(points: Float32Array, row: number, from: Float64Array): number {
  let squares = 0;
  for (let i = 0; i < from.length; i++) squares += (points[row * from.length + i]! - from[i]!) ** 2;
  return Math.sqrt(squares);
}
