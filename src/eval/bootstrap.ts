import { Generator, Purpose } from '../random/generator.js';
import { type ContextSums, type Totals, totalsOf } from './context-sums.js';
import type { Interval } from './record.js';

/** Resamples an interval is made from. */
const RESAMPLES = 2000;

/** Of the resampled values, the share below the interval, and above it. */
const TAIL = 0.025;

export interface BootstrapOptions {
  readonly resamples?: number;
  readonly seed?: number;
}

/**
 * 95 % percentile bootstrap intervals (Efron 1979) over contexts. Positions of one context depend on one another, so
 * whole contexts are drawn, as many as there are and with replacement, and each statistic is computed from the totals
 * of the drawn ones. A statistic is a ratio of totals, not a mean of ratios of contexts: a context with few counted
 * positions weighs as little in a resample as it does in the estimate. Percentiles of few or lopsided contexts may leave
 * the estimate out by a little; the interval then reaches to it.
 *
 * @param statistic from totals over contexts to values by name
 * @returns [low, high] by name; NaN where there are fewer than two contexts, or a resample has no value
 */
export function bootstrapIntervals<Name extends string, Metric extends string>(
  sums: ContextSums<Name>,
  statistic: (totals: Totals<Name>) => Record<Metric, number>,
  { resamples = RESAMPLES, seed = 0 }: BootstrapOptions = {},
): Record<Metric, Interval> {
  const names = Object.keys(sums) as Name[];
  const width = names.length;
  const contexts = sums[names[0]!].length;
  const rows = new Float64Array(contexts * width);
  for (const [i, name] of names.entries()) for (const [c, sum] of sums[name].entries()) rows[c * width + i] = sum;

  const random = new Generator(seed, Purpose.bootstrap);
  const drawn = new Float64Array(width);
  const values = new Map<Metric, Float64Array>();
  for (let r = 0; r < resamples; r++) {
    drawn.fill(0);
    for (let k = 0; k < contexts; k++) {
      const row = random.below(contexts) * width;
      for (let i = 0; i < width; i++) drawn[i]! += rows[row + i]!;
    }
    const totals = Object.fromEntries(names.map((name, i) => [name, drawn[i]!])) as Totals<Name>;
    for (const [metric, value] of Object.entries(statistic(totals)) as [Metric, number][]) {
      const column = values.get(metric) ?? new Float64Array(resamples);
      values.set(metric, column);
      column[r] = value;
    }
  }
  const estimates = statistic(totalsOf(sums));
  const interval = (column: Float64Array, estimate: number): Interval => {
    if (contexts < 2 || column.some(Number.isNaN)) return [Number.NaN, Number.NaN];
    column.sort();
    return [Math.min(quantile(column, TAIL), estimate), Math.max(quantile(column, 1 - TAIL), estimate)];
  };
  return Object.fromEntries(
    [...values].map(([metric, column]) => [metric, interval(column, estimates[metric])]),
  ) as Record<Metric, Interval>;
}

/** The value below which a share `q` of ascending values lies; linear between neighbours. */
function quantile(sorted: Float64Array, q: number): number {
  const at = (sorted.length - 1) * q;
  const low = Math.floor(at);
  return sorted[low]! + (at - low) * ((sorted[low + 1] ?? sorted[low]!) - sorted[low]!);
}
