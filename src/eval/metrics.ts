import type { DensityHistogram, EvalRecord } from './record.js';

/** Sums over counted positions that all SAEs of a site share. */
export interface SharedSums {
  tokens: number;
  nllClean: number;
  nllZero: number;
  /** Σ|x|² */
  squared: number;
  /** Σ x, [d_in] */
  x: Float64Array;
}

/** Sums over counted positions of one SAE. */
export interface SaeSums {
  nllSpliced: number;
  kl: number;
  l0: number;
  /** Σ|x̂|² */
  reconstruction: number;
  /** Σ x · x̂ */
  product: number;
  /** Σ|x − x̂|² */
  error: number;
  /** Σ cos(x, x̂) */
  cosine: number;
  /** Counted positions on which each feature is active, [d_sae] */
  active: Float64Array;
}

export const newSharedSums = (dIn: number): SharedSums => ({
  tokens: 0,
  nllClean: 0,
  nllZero: 0,
  squared: 0,
  x: new Float64Array(dIn),
});

export const newSaeSums = (dSae: number): SaeSums => ({
  nllSpliced: 0,
  kl: 0,
  l0: 0,
  reconstruction: 0,
  product: 0,
  error: 0,
  cosine: 0,
  active: new Float64Array(dSae),
});

/** The measured part of an evaluation record. */
export type Metrics = Omit<
  EvalRecord,
  'sae' | 'architecture' | 'hook' | 'model' | 'd_in' | 'd_sae' | 'training_curve' | 'cfg'
>;

/** The metrics of record.ts, from sums. */
export function metricsOf(shared: SharedSums, sae: SaeSums): Metrics {
  const { tokens } = shared;
  const mean = (sum: number) => sum / tokens;
  const ce_clean = mean(shared.nllClean);
  const ce_spliced = mean(sae.nllSpliced);
  const ce_zero = mean(shared.nllZero);
  // Σ|x − x̄|² = Σ|x|² − N|x̄|²
  const variation = shared.squared - shared.x.reduce((sum, s) => sum + (s * s) / tokens, 0);
  const dead = sae.active.reduce((count, n) => count + (n === 0 ? 1 : 0), 0);
  return {
    tokens,
    ce_clean,
    ce_spliced,
    ce_zero,
    loss_recovered: 1 - (ce_spliced - ce_clean) / (ce_zero - ce_clean),
    kl: mean(sae.kl),
    l0: mean(sae.l0),
    mse: mean(sae.error),
    explained_variance: 1 - sae.error / variation,
    cosine: mean(sae.cosine),
    relative_reconstruction_bias: sae.reconstruction / sae.product,
    dead_fraction: dead / sae.active.length,
    density_histogram: densityHistogram(sae.active, tokens),
  };
}

/** Bins a decade. */
const BINS = 4;

/** Histogram of log10(density) over features, from the smallest density that can be seen (one position) to 1. */
export function densityHistogram(active: Float64Array, tokens: number): DensityHistogram {
  // One decade at least, for an evaluation of a single position.
  const lowest = Math.min(-1, Math.floor(-Math.log10(tokens)));
  const bins = -lowest * BINS;
  const counts = new Array<number>(bins).fill(0);
  let dead = 0;
  for (const n of active) {
    if (n === 0) {
      dead++;
      continue;
    }
    const bin = Math.floor((Math.log10(n / tokens) - lowest) * BINS);
    counts[Math.max(0, Math.min(bins - 1, bin))]!++;
  }
  return { log10_edges: Array.from({ length: bins + 1 }, (_, i) => lowest + i / BINS), counts, dead };
}
