import { type ContextSums, newContextSums } from './context-sums.js';
import { positionEdges } from './position-bins.js';

const SITE = ['tokens', 'nllClean', 'nllZero', 'nllMean', 'spread'] as const;
const SAE = [
  'nllSpliced',
  'kl',
  'l0',
  'reconstruction',
  'product',
  'error',
  'cosine',
  'normRatio',
  'relativeError',
  'curvature',
] as const;

/** Sums over counted positions that all SAEs of a site share. With u = x − centre: */
export interface SiteSums {
  /** Number of positions, losses of the clean run and of the ablations, Σ|u|². */
  readonly byContext: ContextSums<(typeof SITE)[number]>;
  /** Σ u of each context, [d_in]: 4 × d_in bytes a context, the one thing here that grows with both. */
  readonly u: Float32Array[];
  /** By bin of the position in the context. */
  readonly byPosition: {
    readonly tokens: Float64Array;
    readonly nllClean: Float64Array;
    readonly nllZero: Float64Array;
  };
}

/** Sums over counted positions of one SAE. */
export interface SaeSums {
  /**
   * Loss of the spliced run, KL, active features, Σ|x̂|², Σ x·x̂, Σ|x − x̂|², Σ cos(x, x̂), Σ|x̂|/|x|, Σ|x − x̂|²/|u|²,
   * Σ|x − x̂|²/|u|⁴.
   */
  readonly byContext: ContextSums<(typeof SAE)[number]>;
  /** Σ u |x − x̂|²/|u|⁴, [d_in] */
  readonly slope: Float64Array;
  /** Positions on which each feature is active, [d_sae] */
  readonly active: Float64Array;
  /** Positions on which 0, 1, … features are active, [d_sae + 1] */
  readonly l0: Float64Array;
  /** Loss of the spliced run by bin of the position in the context. */
  readonly byPosition: Float64Array;
}

const binsOf = (context: number) => new Float64Array(positionEdges(context).length - 1);

export const newSiteSums = (context: number): SiteSums => ({
  byContext: newContextSums(SITE),
  u: [],
  byPosition: { tokens: binsOf(context), nllClean: binsOf(context), nllZero: binsOf(context) },
});

export const newSaeSums = (dIn: number, dSae: number, context: number): SaeSums => ({
  byContext: newContextSums(SAE),
  slope: new Float64Array(dIn),
  active: new Float64Array(dSae),
  l0: new Float64Array(dSae + 1),
  byPosition: binsOf(context),
});
