import { sumLanes } from './lanes';

/**
 * r = factor · (sum − xc), in place of sum. As xc = x − b_dec, sum − xc is x̂ − x.
 *
 * @param sum, xc [rows, d]
 * @returns Σ |sum − xc|²
 */
export function residual(sum: usize, xc: usize, rows: i32, d: i32, factor: f32): f64 {
  const bytes = (<usize>d) << 2;
  const scale = f32x4.splat(factor);
  let total: f64 = 0;
  for (let row = 0; row < rows; row++) {
    const a = sum + <usize>row * bytes;
    const x = xc + <usize>row * bytes;
    let squares = f32x4.splat(0);
    for (let i: usize = 0; i < bytes; i += 16) {
      const error = f32x4.sub(v128.load(a + i), v128.load(x + i));
      squares = f32x4.add(squares, f32x4.mul(error, error));
      v128.store(a + i, f32x4.mul(error, scale));
    }
    total += <f64>sumLanes(squares);
  }
  return total;
}

/** to += from, `bytes` bytes of float32, a multiple of 16. */
export function addTo(to: usize, from: usize, bytes: usize): void {
  for (let i: usize = 0; i < bytes; i += 16) v128.store(to + i, f32x4.add(v128.load(to + i), v128.load(from + i)));
}

/**
 * out[i] = Σ_b rows[b, i].
 *
 * @param source [rows, d]
 */
export function sumRows(source: usize, rows: i32, d: i32, out: usize): void {
  const bytes = (<usize>d) << 2;
  memory.fill(out, 0, bytes);
  for (let row = 0; row < rows; row++) addTo(out, source + <usize>row * bytes, bytes);
}
