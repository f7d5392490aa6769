/** Sample size for the geometric median: more than a few thousand activations change it by less than its noise. */
export const MEDIAN_ROWS = 8192;

/** Weiszfeld's iteration ends when it moves by less than this share of the points' spread. */
const TOLERANCE = 1e-6;
const MOST_ITERATIONS = 200;

/**
 * The point that minimises Σ |x_i − m|, by Weiszfeld's iteration (Weiszfeld 1937) from the mean. Unlike the mean it is
 * robust to a few very long activations.
 *
 * @param points [rows × d]
 * @returns [d]
 */
export function geometricMedian(points: Float32Array, d: number): Float64Array {
  const rows = points.length / d;
  let median = arithmeticMean(points, d);
  for (let iteration = 0; iteration < MOST_ITERATIONS; iteration++) {
    const distances = Float64Array.from({ length: rows }, (_, row) => distance(points, row, median));
    const spread = distances.reduce((sum, x) => sum + x, 0) / rows;
    if (spread === 0) break;
    // A point that coincides with the median would have infinite weight.
    const next = weightedMean(points, d, (row) => 1 / Math.max(distances[row]!, 1e-9 * spread));
    const moved = Math.sqrt(next.reduce((sum, x, i) => sum + (x - median[i]!) ** 2, 0));
    median = next;
    if (moved < TOLERANCE * spread) break;
  }
  return median;
}

/** @returns [d] */
export function arithmeticMean(points: Float32Array, d: number): Float64Array {
  return weightedMean(points, d, () => 1);
}

function weightedMean(points: Float32Array, d: number, weight: (row: number) => number): Float64Array {
  const sum = new Float64Array(d);
  let total = 0;
  for (let row = 0; row < points.length / d; row++) {
    const w = weight(row);
    total += w;
    for (let i = 0; i < d; i++) sum[i]! += w * points[row * d + i]!;
  }
  return sum.map((x) => x / total);
}

function distance(points: Float32Array, row: number, from: Float64Array): number {
  let squares = 0;
  for (let i = 0; i < from.length; i++) squares += (points[row * from.length + i]! - from[i]!) ** 2;
  return Math.sqrt(squares);
}
