import { effectiveRank, symmetricEigenvalues } from '../activations/eigenvalues.js';
import { gammaOf, medianOf } from '../activations/statistics.js';
import type { StoreManifest } from '../activations/store.js';
import { expectedDead } from './normal.js';
import { LARGE, type LongRow, type Survey, WIDEST } from './survey.js';

/** Shares of tokens at which quantiles of norms are told. */
const QUANTILES = [0, 0.001, 0.01, 0.05, 0.25, 0.5, 0.75, 0.95, 0.99, 0.999, 1] as const;
/** Share of tokens whose part of the variance is told, the largest. */
const LARGEST_TOKENS = 0.001;
/** Dimensions that are listed, those of the largest variance. */
const DIMENSIONS = 10;

/** What `inspect --json` prints; docs/reference/metrics.md has the equations. */
export interface Inspection {
  store: string;
  model: string;
  hook: string;
  d_in: number;
  dtype: string;
  rows: number;
  /** |μ| / |σ|, of the activations as they are, and after per-token LayerNorm. */
  gamma: { raw: number; layer_norm: number };
  /** |μ| and |σ| = √(Σ variances) of the activations as they are. */
  mean: number;
  deviation: number;
  norms: { mean: number; median: number; quantiles: { share: number; norm: number }[] };
  dimensions: {
    /** Those of the largest variance: mean, standard deviation, share of the variance. */
    largest: { dimension: number; mean: number; deviation: number; share: number }[];
    /** Standard deviations over their median: least and largest. */
    span: { least: number; largest: number };
  };
  tokens: {
    /** The largest 0.1 % by |x − μ|², one at least, and their share of Σ |x − μ|². */
    largest: { rows: number; share_of_variance: number };
    /** Those with a norm above `multiple` × the median of the first shard. */
    large: { multiple: number; threshold: number; rows: number; share_of_rows: number; share_of_variance: number };
  };
  /** exp of the entropy of the covariance's eigenvalues; null with the reason where it is not computed. */
  effective_rank: { all: number | null; without_large_tokens: number | null; rows: number; reason?: string };
  /** Features dead from the start, where b_dec starts at 0. */
  expected_dead: { d_sae: number; k: number; relu: number; topk: number };
  longest_tokens: (LongRow & { multiple: number; document?: number; text?: string; before?: string; after?: string })[];
}

/** What is drawn, besides what is printed. */
export interface Drawn {
  /** Norms: bins and rows. */
  readonly histogram: { readonly edges: readonly number[]; readonly counts: readonly number[] };
  /** Standard deviations, the largest first. */
  readonly deviations: readonly number[];
  /** Eigenvalues of the covariance, the largest first; of all rows and of those that are not large. */
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
/** Of a ratio without a denominator. */
const orZero = (value: number) => (Number.isFinite(value) ? value : 0);
