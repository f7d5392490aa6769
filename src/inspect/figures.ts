import { effectiveRank, symmetricEigenvalues } from '../activations/eigenvalues.js';
import { gammaOf, medianOf } from '../activations/statistics.js';
import type { StoreManifest } from '../activations/store.js';
import { expectedDead } from './normal.js';
import { LARGE, type LongRow, type Survey, WIDEST } from './survey.js';

/** Shares of tokens whose norm quantiles are reported. */
const QUANTILES = [0, 0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999, 1] as const;
/** Share of the tokens with the largest norms whose part of the variance is reported. */
const LARGEST_TOKENS = 0.001;
/** Number of dimensions listed, those with the largest variance. */
const DIMENSIONS = 10;

/** The output of `inspect --json`; docs/reference/metrics.md has the equations. */
export interface Inspection {
  store: string;
  model: string;
  hook: string;
  d_in: number;
  dtype: string;
  rows: number;
  /** |μ| / |σ|, for raw activations, and after per-token LayerNorm. */
  gamma: { raw: number; layer_norm: number };
  /** |μ| and |σ| = √(Σ variances) of raw activations. */
  mean: number;
  deviation: number;
  norms: { mean: number; median: number; quantiles: { share: number; norm: number }[] };
  dimensions: {
    /** Those with the largest variance: mean, standard deviation, share of the variance. */
    largest: { dimension: number; mean: number; deviation: number; share: number }[];
    /** Standard deviations relative to their median: minimum and maximum. */
    span: { least: number; largest: number };
  };
  tokens: {
    /** The largest 0.1 % by |x − μ|² (at least one), and their share of Σ |x − μ|². */
    largest: { rows: number; share_of_variance: number };
    /** Those with a norm above `multiple` × the median of the first shard. */
    large: { multiple: number; threshold: number; rows: number; share_of_rows: number; share_of_variance: number };
  };
  /** exp of the entropy of the covariance's eigenvalues; null with the reason if not computed. */
  effective_rank: { all: number | null; without_large_tokens: number | null; rows: number; reason?: string };
  /** Features dead from the start if b_dec starts at 0. */
  expected_dead: { d_sae: number; k: number; relu: number; topk: number };
  longest_tokens: (LongRow & { multiple: number; document?: number; text?: string; before?: string; after?: string })[];
}

/** Data for the figure, in addition to the printed numbers. */
export interface Drawn {
  /** Histogram of norms: bins and rows. */
  readonly histogram: { readonly edges: readonly number[]; readonly counts: readonly number[] };
  /** Standard deviations, descending. */
  readonly deviations: readonly number[];
  /** Eigenvalues of the covariance, descending; for all rows, and without large ones. */
  readonly spectrum?: Float64Array;
  readonly withoutLarge?: Float64Array;
}

/** The numbers of a survey. */
export function figuresOf(
  survey: Survey,
  { model, hook, d_in, dtype, rows }: StoreManifest,
  store: string,
  dictionary: { readonly k: number; readonly dSae: number },
): { inspection: Omit<Inspection, 'longest_tokens'>; drawn: Drawn } {
  const { sums, normalised, norms, large } = survey;
  const [mean, variance] = [sums.mean(), sums.variance()];
  const total = sumOf(variance);
  const deviations = variance.map(Math.sqrt);
  const median = medianOf(deviations);
  const order = Array.from(variance.keys()).sort((a, b) => variance[b]! - variance[a]! || a - b);
  const quantiles = norms.quantiles(QUANTILES);
  const most = Math.max(1, Math.round(LARGEST_TOKENS * rows));
  const spectrum = survey.covariance && descending(symmetricEigenvalues(survey.covariance.matrix, d_in));
  const withoutLarge = survey.withoutLarge && descending(symmetricEigenvalues(survey.withoutLarge.matrix, d_in));
  const gamma = { raw: gammaOf(sums), layer_norm: gammaOf(normalised) };
  const inspection = {
    ...{ store, model: model.name, hook, d_in, dtype, rows },
    gamma,
    mean: Math.sqrt(sumOf(mean.map((value) => value * value))),
    deviation: Math.sqrt(total),
    norms: {
      mean: norms.sum / rows,
      median: quantiles[QUANTILES.indexOf(0.5)]!,
      quantiles: QUANTILES.map((share, i) => ({ share, norm: quantiles[i]! })),
    },
    dimensions: {
      largest: order.slice(0, DIMENSIONS).map((dimension) => ({
        dimension,
        mean: mean[dimension]!,
        deviation: deviations[dimension]!,
        share: orZero(variance[dimension]! / total),
      })),
      span: {
        least: orZero(deviations[order.at(-1)!]! / median),
        largest: orZero(deviations[order[0]!]! / median),
      },
    },
    tokens: {
      largest: { rows: most, share_of_variance: orZero(survey.spread.sumOfLargest(most) / survey.spread.sum) },
      large: {
        ...{ multiple: LARGE, threshold: large.threshold, rows: large.rows, share_of_rows: large.rows / rows },
        share_of_variance: orZero(large.spread / survey.spread.sum),
      },
    },
    effective_rank: {
      all: spectrum ? effectiveRank(spectrum) : null,
      without_large_tokens: withoutLarge ? effectiveRank(withoutLarge) : null,
      rows: survey.covariance?.rows ?? 0,
      ...(spectrum ? {} : { reason: `d_in is above ${WIDEST}` }),
    },
    expected_dead: { d_sae: dictionary.dSae, k: dictionary.k, ...expectedDead(gamma.layer_norm, rows, dictionary) },
  };
  const histogram = sums.histogram();
  return { inspection, drawn: { histogram, deviations: order.map((i) => deviations[i]!), spectrum, withoutLarge } };
}

const sumOf = (values: Float64Array) => values.reduce((sum, value) => sum + value, 0);
const descending = (values: Float64Array) => values.reverse();
/** For a ratio without a denominator. */
const orZero = (value: number) => (Number.isFinite(value) ? value : 0);
