import { noBias, noLossRecovered } from './ablation-gap.js';
import { bootstrapIntervals } from './bootstrap.js';
import { type ContextSums, type Totals, totalsOf } from './context-sums.js';
import { denseFraction, densityHistogram, l0Histogram } from './histograms.js';
import { positionEdges } from './position-bins.js';
import type { Headline, Interval, LossByPosition, MeasuredRecord } from './record.js';
import type { SaeSums, SiteSums } from './sums.js';

/** The part of an evaluation record that is measured by splicing in. */
export type Metrics = Omit<
  MeasuredRecord,
  | 'sae'
  | 'architecture'
  | 'hook'
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

/** How a site was evaluated. */
export interface Measured {
  readonly context: number;
  readonly meanAblation: boolean;
}

type Sums = keyof SiteSums['byContext'] | keyof SaeSums['byContext'];

/** a / b; NaN where b is not above 0: a variance or a cost that is negative is rounding or noise. */
const ratio = (a: number, b: number) => (b > 0 ? a / b : Number.NaN);

/** The metrics that have an interval, from totals over any contexts; `spread` is Σ|x − x̄|² here. */
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

/** The metrics of record.ts, from sums; docs/metrics.md has the equations. */
export function metricsOf(site: SiteSums, sae: SaeSums, { context, meanAblation }: Measured): Metrics {
  const contexts = site.byContext.tokens;
  const tokens = contexts.reduce((sum, n) => sum + n, 0);
  // Where x̄ − centre is δ, |x − x̄|² = |u|² − 2 u·δ + |δ|². Resamples keep the evaluation's own x̄.
  const delta = meanOf(site.u, tokens);
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
    ce_mean: meanAblation ? totals.nllMean / tokens : null,
    loss_recovered_mean: meanAblation ? loss_recovered_mean : null,
    l0_histogram: l0Histogram(sae.l0),
    fvu: ratio(totals.error, totals.spread),
    explained_variance_tokens: 1 - relativeError / tokens,
    norm_ratio: totals.normRatio / tokens,
    dead_fraction: sae.active.reduce((count, n) => count + (n === 0 ? 1 : 0), 0) / sae.active.length,
    dense_fraction: denseFraction(sae.active, tokens),
    density_histogram: densityHistogram(sae.active, tokens),
    loss_by_position: lossByPosition(site, sae, context),
    reasons,
    intervals: meanAblation
      ? { ...intervals, loss_recovered_mean: meanInterval }
      : (intervals as Record<string, Interval>),
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

function lossByPosition({ byPosition }: SiteSums, sae: SaeSums, context: number): LossByPosition {
  const mean = (sums: Float64Array) => Array.from(sums, (sum, bin) => ratio(sum, byPosition.tokens[bin]!));
  return {
    edges: positionEdges(context),
    ce_clean: mean(byPosition.nllClean),
    ce_spliced: mean(sae.byPosition),
    ce_zero: mean(byPosition.nllZero),
  };
}

/** x̄ − centre, [d_in]. */
function meanOf(u: readonly Float32Array[], tokens: number): Float64Array {
  const mean = new Float64Array(u[0]!.length);
  for (const sums of u) for (const [i, sum] of sums.entries()) mean[i]! += sum / tokens;
  return mean;
}

function dot(a: Float64Array, b: Float64Array | Float32Array): number {
  return a.reduce((sum, x, i) => sum + x * b[i]!, 0);
}
