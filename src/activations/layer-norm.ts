/** A variance below this share of a row's mean square is rounding error of entries that are all equal. */
const ALIKE = 1e-12;

/** 1 over the standard deviation of a row; 0 if its entries are all equal, which LayerNorm maps to 0. */
export function inverseDeviation(mean: number, variance: number): number {
  return variance > ALIKE * (mean * mean + variance) ? 1 / Math.sqrt(variance) : 0;
}

/** Each row less its mean, over its standard deviation; a row whose entries are all equal becomes 0. */
export function layerNormed(x: Float32Array, d: number): Float32Array {
  const normed = new Float32Array(x.length);
  for (let at = 0; at < x.length; at += d) {
    let sum = 0;
    for (let i = 0; i < d; i++) sum += x[at + i]!;
    const mean = sum / d;
    let squares = 0;
    for (let i = 0; i < d; i++) squares += (x[at + i]! - mean) ** 2;
    const scale = inverseDeviation(mean, squares / d);
    for (let i = 0; i < d; i++) normed[at + i] = (x[at + i]! - mean) * scale;
  }
  return normed;
}
