import type { DensityHistogram, L0Histogram } from './record.js';

/** Bins a decade of density. */
const DECADE = 4;

/** Bins of L0, at most. */
const L0_BINS = 64;

/** A feature is dense that is active on more than this share of positions. */
const DENSE = 0.1;

/** Histogram of log10(density) over features, from the smallest density that can be seen (one position) to 1. */
export function densityHistogram(active: Float64Array, tokens: number): DensityHistogram {
  // One decade at least, for an evaluation of a single position.
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
 * Histogram of L0 over positions, in bins of one whole width from the least to the largest L0 seen.
 *
 * @param positions [d_sae + 1], the number of positions with 0, 1, … active features
 */
export function l0Histogram(positions: Float64Array): L0Histogram {
  const [least, largest] = [positions.findIndex((n) => n > 0), positions.findLastIndex((n) => n > 0)];
  const width = Math.ceil((largest - least + 1) / L0_BINS);
  const bins = Math.ceil((largest - least + 1) / width);
  const counts = new Array<number>(bins).fill(0);
  for (let l0 = least; l0 <= largest; l0++) counts[Math.floor((l0 - least) / width)]! += positions[l0]!;
  return { edges: Array.from({ length: bins + 1 }, (_, i) => least + i * width), counts };
}
