import type { SparseForm } from '../../../sae/architecture.js';
import type { EngineSettings } from '../engine.js';
import type { Kernels, Pointer } from './kernels.js';
import { featuresOf, levelSums } from './memory.js';

// A Matryoshka SAE reconstructs the target from each of several prefixes of its features. Level i consists of the
// features that its prefix adds to the previous one. Workers add up the contributions P_i of each level's features; the
// reconstruction of prefix i is P_0 + … + P_i. Features of level i are part of the reconstructions of this prefix and
// all longer ones, so their gradients use the sum of those residuals, R_i = Σ_{l ≥ i} w_l r_l. Without prefixes there
// is one level.

/** Features of a slice with a common residual. */
export interface Level {
  /** Range within the slice. */
  readonly first: number;
  readonly last: number;
  /** The array [B, d_out] of their partial sums, later of R. */
  readonly sum: string;
}

/** The weight of the complete SAE's squared error. */
export function lastWeight({ prefixes }: SparseForm): number {
  return prefixes?.at(-1)?.weight ?? 1;
}

/** The levels with features in a worker's slice. */
export function levelsOf(form: SparseForm, { dSae }: EngineSettings, index: number, workers: number): readonly Level[] {
  const [start, end] = featuresOf(dSae, index, workers);
  const widths = form.prefixes?.map(({ width }) => width) ?? [dSae];
  return levelSums(form).flatMap((sum, i) => {
    const first = Math.max(start, widths[i - 1] ?? 0);
    const last = Math.min(end, widths[i]!);
    return first < last ? [{ first: first - start, last: last - start, sum }] : [];
  });
}

/** Rows of the levels' sums, and of the target without b_dec. */
export interface LevelRows {
  readonly sums: readonly Pointer[];
  readonly target: Pointer;
  readonly rows: number;
  readonly d: number;
}

/**
 * Computes R_i from P_i, in place.
 *
 * @param factor 2 / B
 * @returns Σ |y − ŷ|² of the complete SAE, and what the loss adds to it: the others' weighted errors, and its own for a
 * weight other than 1
 */
export function finishLevels(
  kernels: Pick<Kernels, 'addTo' | 'residual'>,
  { prefixes }: SparseForm,
  { sums, target, rows, d }: LevelRows,
  factor: number,
): { readonly squares: number; readonly more: number } {
  const bytes = 4 * rows * d;
  for (let i = 1; i < sums.length; i++) kernels.addTo(sums[i]!, sums[i - 1]!, bytes);
  let [squares, more] = [0, 0];
  for (let i = sums.length - 1; i >= 0; i--) {
    const weight = prefixes?.[i]?.weight ?? 1;
    const found = kernels.residual(sums[i]!, target, rows, d, weight * factor);
    if (i === sums.length - 1) [squares, more] = [found, (weight - 1) * found];
    else {
      more += weight * found;
      kernels.addTo(sums[i]!, sums[i + 1]!, bytes);
    }
  }
  return { squares, more };
}
