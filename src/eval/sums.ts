import { FineHistogram } from './fine-histogram.js';

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

/** Sums over counted positions shared by all SAEs at a hook. With u = x − centre: */
export interface SiteSums {
  /** Number of positions, losses of the clean run and of the ablations, Σ|u|². */
  readonly byContext: ContextSums<(typeof SITE)[number]>;
  /** Σ u of each context, [d_in]: 4 × d_in bytes per context, the only sum here that grows with both. */
  readonly u: Float32Array[];
  /** Σ u² of each dimension, [d_in]. */
  readonly dimensions: Float64Array;
  /** |u|² of the counted positions. */
  readonly spreads: FineHistogram;
  /** How often each token is the one to predict. */
  readonly targets: Map<number, number>;
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
  /** Σ (x − x̂)² of each dimension, [d_in] */
  readonly dimensions: Float64Array;
  /** Positions on which each feature is active, [d_sae] */
  readonly active: Float64Array;
  /** Positions on which 0, 1, … features are active, [d_sae + 1] */
  readonly l0: Float64Array;
  /** Loss of the spliced run by bin of the position in the context. */
  readonly byPosition: Float64Array;
}

const binsOf = (context: number, first: number) => new Float64Array(positionEdges(context, first).length - 1);

/** @param first the first position of a context that can count: 1 if BOS is at 0 */
export const newSiteSums = (width: number, context: number, first = 1): SiteSums => ({
  byContext: newContextSums(SITE),
  u: [],
  dimensions: new Float64Array(width),
  spreads: new FineHistogram(),
  targets: new Map(),
  byPosition: { tokens: binsOf(context, first), nllClean: binsOf(context, first), nllZero: binsOf(context, first) },
});

export const newSaeSums = (dOut: number, dSae: number, context: number, first = 1): SaeSums => ({
  byContext: newContextSums(SAE),
  slope: new Float64Array(dOut),
  dimensions: new Float64Array(dOut),
  active: new Float64Array(dSae),
  l0: new Float64Array(dSae + 1),
  byPosition: binsOf(context, first),
});

/**
 * Sums over the counted positions of each context: one array per quantity, one entry per context. Every metric is a
 * function of their totals; the bootstrap uses the totals of resampled contexts instead.
 */
export type ContextSums<Name extends string> = Readonly<Record<Name, number[]>>;

export type Totals<Name extends string> = Record<Name, number>;

/** Without any context yet. */
export function newContextSums<Name extends string>(names: readonly Name[]): ContextSums<Name> {
  return Object.fromEntries(names.map((name) => [name, []])) as unknown as ContextSums<Name>;
}

/** Appends a context with sums of 0. */
export function beginContext(sums: ContextSums<string>): void {
  for (const column of Object.values(sums)) column.push(0);
}

/** Each quantity summed over all contexts. */
export function totalsOf<Name extends string>(sums: ContextSums<Name>): Totals<Name> {
  const columns = Object.entries(sums) as [Name, number[]][];
  return Object.fromEntries(
    columns.map(([name, column]) => [name, column.reduce((sum, x) => sum + x, 0)]),
  ) as Totals<Name>;
}

/** Share of counted positions on which each feature is active, [d_sae] an SAE. */
export function densities({ byContext }: SiteSums, saes: readonly SaeSums[]): Float64Array[] {
  const { tokens } = totalsOf(byContext);
  return saes.map(({ active }) => active.map((n) => n / tokens));
}

/** Losses that do not depend on an SAE (nats). */
export function sharedLosses({ byContext }: SiteSums): { ce_clean: number; ce_zero: number } {
  const { tokens, nllClean, nllZero } = totalsOf(byContext);
  return { ce_clean: nllClean / tokens, ce_zero: nllZero / tokens };
}

/** Max bins by position in the context. */
const BINS = 16;

/**
 * Bin edges over the positions that can count, from the first to context − 2 (the last token predicts nothing): bin i
 * has edges[i] ≤ position < edges[i + 1], and all bins have equal widths up to rounding.
 */
export function positionEdges(context: number, first = 1): number[] {
  const positions = Math.max(1, context - 1 - first);
  const bins = Math.min(BINS, positions);
  return Array.from({ length: bins + 1 }, (_, i) => first + Math.floor((i * positions) / bins));
}

/** The bin of each position, [context]; −1 for positions that cannot count. */
export function binsOfPositions(context: number, first = 1): Int32Array {
  const edges = positionEdges(context, first);
  const bins = new Int32Array(context).fill(-1);
  for (let i = 0; i + 1 < edges.length; i++) bins.fill(i, edges[i]!, edges[i + 1]!);
  return bins;
}
