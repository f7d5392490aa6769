import { Generator } from '../../src/random/generator.js';

/** Orthonormal directions of width d: the first of a cosine transform that has no constant. */
export function axesOf(d: number, rank: number): Float64Array[] {
  return Array.from({ length: rank }, (_, k) =>
    Float64Array.from(
      { length: d },
      (_, i) => Math.sqrt(2 / d) * Math.cos((Math.PI * (k + 1) * (2 * i + 1)) / (2 * d)),
    ),
  );
}

/** Normal rows about a constant vector that vary along `rank` directions only: alike, or each a third of the one before. */
export function rowsWithin(of: {
  rows: number;
  d: number;
  rank: number;
  seed: number;
  falling?: boolean;
}): Float32Array {
  const { rows, d, rank, seed, falling = false } = of;
  const [axes, random] = [axesOf(d, rank), new Generator(seed)];
  const x = new Float32Array(rows * d);
  for (let row = 0; row < rows; row++) {
    const values = axes.map((_, k) => random.normal() * (falling ? 3 ** -k : 1));
    for (let i = 0; i < d; i++) x[row * d + i] = 7 + axes.reduce((sum, axis, k) => sum + values[k]! * axis[i]!, 0);
  }
  return x;
}
