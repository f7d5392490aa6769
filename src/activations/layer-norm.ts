/** Each row less its mean, over its standard deviation; a row whose entries are all alike becomes 0. */
export function layerNormed(x: Float32Array, d: number): Float32Array {
  const normed = new Float32Array(x.length);
  for (let at = 0; at < x.length; at += d) {
    let sum = 0;
    for (let i = 0; i < d; i++) sum += x[at + i]!;
    const mean = sum / d;
    let squares = 0;
    for (let i = 0; i < d; i++) squares += (x[at + i]! - mean) ** 2;
    const scale = squares > 0 ? Math.sqrt(d / squares) : 0;
    for (let i = 0; i < d; i++) normed[at + i] = (x[at + i]! - mean) * scale;
  }
  return normed;
}
