import type { Batches, SourceDescription } from '../activations/source.js';
import { widen } from '../activations/widen.js';
import { Refusal } from '../config/refusal.js';
import type { TrainConfig } from '../config/stages.js';
import { geometricMedian } from './geometric-median.js';

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

/** @throws Refusal when every activation is zero and the run would scale by their norm */
export async function estimate(config: TrainConfig, about: SourceDescription, batches: Batches): Promise<Estimates> {
  let { meanNorm } = about;
  let meanSquare: number | null = null;
  if (config.l2Normalise || (meanNorm === null && config.normalize === 'mean-norm')) {
    const sample = await sampleRows(batches, about, SAMPLE_ROWS);
    const norms = Float64Array.from({ length: sample.length / about.dIn }, (_, row) => {
      const x = sample.subarray(row * about.dIn, (row + 1) * about.dIn);
      return Math.sqrt(x.reduce((sum, value) => sum + value * value, 0));
    });
    meanNorm ??= norms.reduce((sum, norm) => sum + norm, 0) / norms.length;
    if (config.l2Normalise) meanSquare = norms.reduce((sum, norm) => sum + norm * norm, 0) / norms.length;
  }
  if (config.normalize === 'mean-norm' && !(meanNorm! > 0)) {
    throw new Refusal(
      `${about.place}: every activation is zero, which --normalize mean-norm cannot scale.`,
      'Use --normalize none, or harvest another hook.',
    );
  }
  return { meanNorm: meanNorm ?? 0, meanSquare };
}

/** The geometric median of a sample of raw activations, [d_in]. */
export async function medianActivation(about: SourceDescription, batches: Batches): Promise<Float64Array> {
  return geometricMedian(await sampleRows(batches, about, MEDIAN_ROWS), about.dIn);
}

/** The first `most` rows of the source's inputs, [rows × d_in]. */
async function sampleRows(batches: Batches, { dIn, dtype }: SourceDescription, most: number): Promise<Float32Array> {
  const sample = new Float32Array(most * dIn);
  let filled = 0;
  for await (const { activation } of batches.inputs(OCCASION)) {
    const values = widen(activation.subarray(0, Math.min(activation.length, sample.length - filled)), dtype);
    sample.set(values, filled);
    filled += values.length;
    if (filled === sample.length) break;
  }
  return sample.subarray(0, filled);
}
