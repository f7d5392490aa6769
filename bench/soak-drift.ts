import { linearFit } from './statistics.js';

/** Blocks of time whose means are taken as independent: samples next to each other are not. */
const BLOCKS = 16;
/** 97.5 % quantile of Student's t with BLOCKS − 2 = 14 degrees of freedom. */
const STUDENT = 2.145;

/** Growth of a series over its second half, in its own unit, with its 95 % interval. */
export interface Drift {
  readonly growth: number;
  readonly low: number;
  readonly high: number;
  /** Mean of the second half. */
  readonly mean: number;
}

/**
 * Least squares through the means of equal blocks of the second half: its slope times the half's length.
 *
 * @param values at equal distances in time, at least 4 · BLOCKS
 * @throws Error where there are fewer
 */
export function driftOf(values: readonly number[]): Drift {
  const half = values.slice(Math.floor(values.length / 2));
  if (half.length < 2 * BLOCKS) throw new Error(`${values.length} samples are too few`);
  const means = Array.from({ length: BLOCKS }, (_, k) => {
    const part = half.slice(Math.floor((k * half.length) / BLOCKS), Math.floor(((k + 1) * half.length) / BLOCKS));
    return part.reduce((sum, value) => sum + value, 0) / part.length;
  });
  const x = means.map((_, k) => (k + 0.5) / BLOCKS);
  const { slope, intercept } = linearFit(x, means);
  const rest = means.reduce((sum, value, k) => sum + (value - intercept - slope * x[k]!) ** 2, 0);
  const spread = x.reduce((sum, value) => sum + (value - 0.5) ** 2, 0);
  const off = STUDENT * Math.sqrt(rest / (BLOCKS - 2) / spread);
  const mean = means.reduce((sum, value) => sum + value, 0) / BLOCKS;
  return { growth: slope, low: slope - off, high: slope + off, mean };
}

/** Growth that is more than noise of a collector: this share of what is held, with 97.5 % certainty. */
export const MOST_GROWTH = 0.02;

/** Does memory drift upwards? */
export function drifts({ low, mean }: Drift): boolean {
  return low > MOST_GROWTH * mean;
}
