/** Prefixes of a Matryoshka SAE: the first features reconstruct the target by themselves. */

import type { SparseForm } from '../../../../sae/architecture.js';

/** What reconstructs the target by itself: features [0, width), and its squared error's weight. */
export function prefixesOf({ prefixes }: SparseForm, dSae: number): NonNullable<SparseForm['prefixes']> {
  return prefixes ?? [{ width: dSae, weight: 1 }];
}

/**
 * Level i has the features that prefix i adds to the one before. They are in the reconstructions of this prefix and of
 * all longer ones, so what their gradients are taken of is the sum of those residuals, R_i = Σ_{l ≥ i} w_l r_l, rows
 * [i × BATCH, (i + 1) × BATCH) of r. Without prefixes there is one level.
 */
export function levels(prefixes: ReturnType<typeof prefixesOf>): string {
  const table = (values: readonly (number | string)[]) => `{${values.join(', ')}}`;
  const weights = prefixes.map(({ weight }) => `${Math.fround(weight).toExponential()}f`);
  return /* cuda */ `
#define LEVELS ${prefixes.length}
#define LAST_WEIGHT ${weights.at(-1)!}
__device__ const int LEVEL_ENDS[LEVELS] = ${table(prefixes.map(({ width }) => width))};
__device__ const float LEVEL_WEIGHTS[LEVELS] = ${table(weights)};

__device__ int levelOf(int j) {
  int level = 0;
  while (level < LEVELS - 1 && j >= LEVEL_ENDS[level]) level++;
  return level;
}

// Where the residual lies for features of a level of a row of the mask: of a token, or after all of those of AuxK's entries.
__device__ long long residualRow(int level, long long row) {
  if (AUX_K && row >= BATCH) return (LEVELS - 1) * (long long)BATCH + row;
  return LEVELS == 1 ? row : (long long)level * BATCH + row;
}

// The first of ascending features, of those at [first, last), that is not below j.
__device__ int firstFrom(const int *feature, int first, int last, int j) {
  while (first < last) {
    const int middle = first + (last - first) / 2;
    if (feature[middle] < j) first = middle + 1;
    else last = middle;
  }
  return first;
}
`;
}
