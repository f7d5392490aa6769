import { significant } from '../progress/progress.js';
import { Generator, Purpose } from '../random/generator.js';
import type {
  DensityHistogram,
  ExplainedDimensions,
  Headline,
  Interval,
  L0Histogram,
  LossByPosition,
  MeasuredRecord,
  VarianceHeld,
} from './record.js';
import { type ContextSums, positionEdges, type SaeSums, type SiteSums, type Totals, totalsOf } from './sums.js';

/** The part of an evaluation record that is measured by splicing in. */
export type SpliceMetrics = Omit<
  MeasuredRecord,
  | 'sae'
  | 'architecture'
  | 'hook'
  | 'hook_in'
  | 'model'
  | 'd_in'
  | 'd_sae'
  | 'decoder_max_cosine'
  | 'training_curve'
  | 'settings'
  | 'command'
  | 'training'
  | 'cfg'
>;

/** How a hook was evaluated. */
interface Measured {
  readonly context: number;
  /** The first position of a context that can count; 1 if not given. */
  readonly first?: number;
  readonly meanAblation: boolean;
}

type Sums = keyof SiteSums['byContext'] | keyof SaeSums['byContext'];

/** a / b; NaN if b is not positive: a negative variance or cost is rounding or noise. */
const ratio = (a: number, b: number) => (b > 0 ? a / b : Number.NaN);

/** The metrics with intervals, from totals over any contexts; `spread` is Σ|x − x̄|² here. */
function headline(t: Totals<Sums>): Record<Headline, number> {
  const delta = t.nllSpliced - t.nllClean;
  return {
    ce_clean: t.nllClean / t.tokens,
    ce_spliced: t.nllSpliced / t.tokens,
    ce_zero: t.nllZero / t.tokens,
    delta_ce: delta / t.tokens,
    loss_recovered: 1 - ratio(delta, t.nllZero - t.nllClean),
    loss_recovered_mean: 1 - ratio(delta, t.nllMean - t.nllClean),
    kl: t.kl / t.tokens,
    l0: t.l0 / t.tokens,
    mse: t.error / t.tokens,
    explained_variance: 1 - ratio(t.error, t.spread),
    cosine: t.cosine / t.tokens,
    relative_reconstruction_bias: ratio(t.reconstruction, t.product),
  };
}

/** The metrics of record.ts, from sums; docs/reference/metrics.md has the equations. */
export function metricsOf(
  site: SiteSums,
  sae: SaeSums,
  { context, first, meanAblation }: Measured,
): Omit<SpliceMetrics, 'left_out' | 'changed_features'> {
  const contexts = site.byContext.tokens;
  const tokens = contexts.reduce((sum, n) => sum + n, 0);
  // With δ = x̄ − centre, |x − x̄|² = |u|² − 2 u·δ + |δ|². Resamples keep the evaluation's own x̄.
  const delta = meanOfContexts(site.u, tokens);
  const shift = dot(delta, delta);
  const spread = site.byContext.spread.map((sum, c) => sum - 2 * dot(delta, site.u[c]!) + contexts[c]! * shift);
  const sums: ContextSums<Sums> = { ...site.byContext, ...sae.byContext, spread };
  const totals = totalsOf(sums);
  const reasons = reasonsOf(sums, totals, meanAblation);
  const known = <T>(values: Record<Headline, T>, none: T) =>
    ({ ...values, ...Object.fromEntries(Object.keys(reasons).map((name) => [name, none])) }) as Record<Headline, T>;
  const { loss_recovered_mean, ...estimates } = known(headline(totals), Number.NaN);
  const { loss_recovered_mean: meanInterval, ...intervals } = known<Interval>(bootstrapIntervals(sums, headline), [
    Number.NaN,
    Number.NaN,
  ]);
  // |x − x̄|⁻² about the centre: |u|⁻² (1 + (2 u·δ − |δ|²) / |u|² + …).
  const relativeError = totals.relativeError + 2 * dot(delta, sae.slope) - shift * totals.curvature;
  return {
    tokens,
    contexts: contexts.length,
    ...estimates,
    unigram_entropy: unigramEntropy(site.targets, tokens),
    ce_mean: meanAblation ? totals.nllMean / tokens : null,
    loss_recovered_mean: meanAblation ? loss_recovered_mean : null,
    l0_histogram: l0Histogram(sae.l0),
    fvu: ratio(totals.error, totals.spread),
    explained_variance_tokens: 1 - relativeError / tokens,
    explained_variance_dimensions: ofDimensions(site.dimensions, sae.dimensions, delta, tokens),
    variance_held: varianceHeld(site, delta, tokens),
    norm_ratio: totals.normRatio / tokens,
    dead_fraction: sae.active.reduce((count, n) => count + (n === 0 ? 1 : 0), 0) / sae.active.length,
    dense_fraction: denseFraction(sae.active, tokens),
    density_histogram: densityHistogram(sae.active, tokens),
    loss_by_position: lossByPosition(site, sae, positionEdges(context, first)),
    reasons,
    intervals: meanAblation
      ? { ...intervals, loss_recovered_mean: meanInterval }
      : (intervals as Record<string, Interval>),
  };
}

/** Entropy of the frequencies of the predicted tokens, with Miller's correction for the few tokens of a sample. */
function unigramEntropy(counts: ReadonlyMap<number, number>, tokens: number): number {
  let entropy = (counts.size - 1) / (2 * tokens);
  for (const count of counts.values()) entropy -= (count / tokens) * Math.log(count / tokens);
  return entropy;
}

/** N times the variance of every dimension: Σ (x − x̄)². */
function spreadOfDimensions(squares: Float64Array, delta: Float64Array, tokens: number): Float64Array {
  return squares.map((sum, i) => Math.max(0, sum - tokens * delta[i]! ** 2));
}

/** Explained variance of every dimension that varies: the median, and the share below 0. */
function ofDimensions(
  squares: Float64Array,
  errors: Float64Array,
  delta: Float64Array,
  tokens: number,
): ExplainedDimensions {
  const spread = spreadOfDimensions(squares, delta, tokens);
  const explained = Array.from(spread, (sum, i) => 1 - errors[i]! / sum).filter(Number.isFinite);
  const sorted = explained.sort((a, b) => a - b);
  const half = sorted.length >> 1;
  const median = sorted.length % 2 === 1 ? sorted[half]! : (sorted[half - 1]! + sorted[half]!) / 2;
  return { median, negative: sorted.filter((value) => value < 0).length / sorted.length };
}

/** Shares of tokens and of dimensions whose part of the variance is reported. */
const [LARGEST_TOKENS, LARGEST_DIMENSIONS] = [0.001, 0.01];

/** The part of Σ|x − x̄|² in a few tokens and in a few dimensions. */
function varianceHeld({ spreads, dimensions }: SiteSums, delta: Float64Array, tokens: number): VarianceHeld {
  const spread = spreadOfDimensions(dimensions, delta, tokens);
  const whole = spread.reduce((sum, value) => sum + value, 0);
  const sorted = Float64Array.from(spread).sort().reverse();
  const few = sorted.subarray(0, Math.max(1, Math.round(LARGEST_DIMENSIONS * sorted.length)));
  const share = (part: number, of: number) => Math.min(1, ratio(part, of));
  return {
    tokens: share(spreads.sumOfLargest(Math.max(1, Math.round(LARGEST_TOKENS * tokens))), spreads.sum),
    dimension: spread.indexOf(sorted[0]!),
    largest_dimension: share(sorted[0]!, whole),
    dimensions: share(
      few.reduce((sum, value) => sum + value, 0),
      whole,
    ),
  };
}

/** Why ratios have no value, by key. */
function reasonsOf(sums: ContextSums<Sums>, { spread }: Totals<Sums>, meanAblation: boolean): Record<string, string> {
  const { nllZero, nllMean, nllClean, product, tokens } = sums;
  const reasons: Partial<Record<Headline, string>> = {
    loss_recovered: noLossRecovered(nllZero, nllClean, tokens, '0'),
    loss_recovered_mean: meanAblation ? noLossRecovered(nllMean, nllClean, tokens, 'its mean') : undefined,
    explained_variance: spread > 0 ? undefined : 'the activations are all alike',
    relative_reconstruction_bias: noBias(product, tokens),
  };
  return Object.fromEntries(
    Object.entries(reasons).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}

function lossByPosition({ byPosition }: SiteSums, sae: SaeSums, edges: number[]): LossByPosition {
  const mean = (sums: Float64Array) => Array.from(sums, (sum, bin) => ratio(sum, byPosition.tokens[bin]!));
  return {
    edges,
    ce_clean: mean(byPosition.nllClean),
    ce_spliced: mean(sae.byPosition),
    ce_zero: mean(byPosition.nllZero),
  };
}

/** x̄ − centre, [d_in]. */
function meanOfContexts(u: readonly Float32Array[], tokens: number): Float64Array {
  const mean = new Float64Array(u[0]!.length);
  for (const sums of u) for (const [i, sum] of sums.entries()) mean[i]! += sum / tokens;
  return mean;
}

function dot(a: Float64Array, b: Float64Array | Float32Array): number {
  return a.reduce((sum, x, i) => sum + x * b[i]!, 0);
}

/** Bins per decade of density. */
const DECADE = 4;

/** Max bins of L0. */
const L0_BINS = 64;

/** A feature is dense if it is active on more than this share of positions. */
const DENSE = 0.1;

/** Histogram of log10(density) over features, from the smallest observable density (one position) to 1. */
export function densityHistogram(active: Float64Array, tokens: number): DensityHistogram {
  // At least one decade, for an evaluation of a single position.
  const lowest = Math.min(-1, Math.floor(-Math.log10(tokens)));
  const bins = -lowest * DECADE;
  const counts = new Array<number>(bins).fill(0);
  let dead = 0;
  for (const n of active) {
    if (n === 0) {
      dead++;
      continue;
    }
    const bin = Math.floor((Math.log10(n / tokens) - lowest) * DECADE);
    counts[Math.max(0, Math.min(bins - 1, bin))]!++;
  }
  return { log10_edges: Array.from({ length: bins + 1 }, (_, i) => lowest + i / DECADE), counts, dead };
}

/** Share of features active on more than a tenth of the positions. */
export function denseFraction(active: Float64Array, tokens: number): number {
  return active.reduce((count, n) => count + (n > DENSE * tokens ? 1 : 0), 0) / active.length;
}

/**
 * Histogram of L0 over positions, in bins of one integer width from the smallest to the largest L0 seen.
 *
 * @param positions [d_sae + 1], number of positions with 0, 1, … active features
 */
export function l0Histogram(positions: Float64Array): L0Histogram {
  const [least, largest] = [positions.findIndex((n) => n > 0), positions.findLastIndex((n) => n > 0)];
  const width = Math.ceil((largest - least + 1) / L0_BINS);
  const bins = Math.ceil((largest - least + 1) / width);
  const counts = new Array<number>(bins).fill(0);
  for (let l0 = least; l0 <= largest; l0++) counts[Math.floor((l0 - least) / width)]! += positions[l0]!;
  return { edges: Array.from({ length: bins + 1 }, (_, i) => least + i * width), counts };
}

/** Min cost in nats per token of ablating a hook for loss recovered to be meaningful: 1 % of perplexity. */
const LEAST_GAP = 0.01;

/** Min distance of this cost from 0 in standard errors: the ratio's denominator is then known to a tenth. */
const GAP_ERRORS = 10;

/** Min distance of Σ x̂·x from 0 in standard errors for γ: below it, resamples change its sign. */
const PRODUCT_ERRORS = 3;

/**
 * Linearised standard error of the ratio Σ sums / Σ weights over contexts; equals the bootstrap's up to terms of order
 * 1 / C.
 *
 * @returns NaN for fewer than two contexts
 */
export function standardError(sums: readonly number[], weights: readonly number[]): number {
  const contexts = sums.length;
  if (contexts < 2) return Number.NaN;
  const weight = total(weights);
  const mean = total(sums) / weight;
  const squares = sums.reduce((sum, value, c) => sum + (value - mean * weights[c]!) ** 2, 0);
  return Math.sqrt((contexts / (contexts - 1)) * squares) / weight;
}

/**
 * Why loss recovered has no value at a hook, as a sentence without its full stop; undefined if it has one.
 *
 * @param ablated losses with the activation replaced, summed by context
 * @param clean losses of the unchanged model
 * @param tokens counted positions per context
 * @param by replacement for the activation
 */
export function noLossRecovered(
  ablated: readonly number[],
  clean: readonly number[],
  tokens: readonly number[],
  by: '0' | 'its mean',
): string | undefined {
  const gaps = ablated.map((loss, c) => loss - clean[c]!);
  const gap = total(gaps) / total(tokens);
  const error = standardError(gaps, tokens);
  const uncertain = Number.isNaN(error)
    ? ''
    : `, with a standard error of ${significant(error, 2)} over ${gaps.length} contexts`;
  const change = gap < 0 ? 'lowers' : 'raises';
  const cost = `replacing the activation by ${by} ${change} the loss by ${significant(Math.abs(gap), 2)} nats per token${uncertain}`;
  if (gap < 0) return `${cost}: on this text there is no loss to recover at this site`;
  if (!(gap >= LEAST_GAP)) return `${cost}: the site does not matter to the loss on this text`;
  // With one context there is no standard error to compare with.
  if (gap < GAP_ERRORS * error) return `${cost}, which is too uncertain to divide by; evaluate more tokens`;
  return undefined;
}

/** Why γ has no value, like noLossRecovered; from Σ x̂·x by context. */
export function noBias(products: readonly number[], tokens: readonly number[]): string | undefined {
  const product = total(products);
  const error = standardError(products, tokens) * total(tokens);
  if (product > 0 && !(product < PRODUCT_ERRORS * error)) return undefined;
  return 'the reconstruction has no component along the activation, or none that differs from 0';
}

const total = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0);
/** Number of bootstrap resamples. */
const RESAMPLES = 2000;

/** Share of the resampled values below the interval, and above it. */
const TAIL = 0.025;

interface BootstrapOptions {
  readonly resamples?: number;
  readonly seed?: number;
}

/**
 * 95 % percentile bootstrap intervals (Efron 1979) over contexts. Positions within a context are dependent, so whole
 * contexts are drawn, as many as there are and with replacement, and each statistic is computed from the totals of the
 * drawn contexts. A statistic is a ratio of totals, not a mean of per-context ratios: a context with few counted
 * positions weighs as little in a resample as in the estimate. With few or skewed contexts the percentiles may miss the
 * estimate slightly; the interval is then extended to include it.
 *
 * @param statistic maps totals over contexts to values by name
 * @returns [low, high] by name; NaN for fewer than two contexts, or if a resample has no value
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
    return [Math.min(percentile(column, TAIL), estimate), Math.max(percentile(column, 1 - TAIL), estimate)];
  };
  return Object.fromEntries(
    [...values].map(([metric, column]) => [metric, interval(column, estimates[metric])]),
  ) as Record<Metric, Interval>;
}

/** The `q` quantile of ascending values, interpolated linearly. */
function percentile(sorted: Float64Array, q: number): number {
  const at = (sorted.length - 1) * q;
  const low = Math.floor(at);
  return sorted[low]! + (at - low) * ((sorted[low + 1] ?? sorted[low]!) - sorted[low]!);
}
