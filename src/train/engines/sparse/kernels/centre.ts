/**
 * xc[b] = scale · x[b] − b_dec for `rows` rows of a batch as it was read. float16 is widened exactly, subnormals,
 * infinities and NaN included.
 *
 * @param source [rows, dIn] unpadded, float16 bits when half, else float32
 * @param xc [rows, d] padded; the padding is written too
 */
export function centre(source: usize, half: bool, scale: f32, bDec: usize, xc: usize, rows: i32, dIn: i32, d: i32): void {
  const s = f32x4.splat(scale);
  const blocks = dIn & ~3;
  for (let row = 0; row < rows; row++) {
    const from = source + ((<usize>row * <usize>dIn) << (half ? 1 : 2));
    const to = xc + ((<usize>row * <usize>d) << 2);
    for (let i = 0; i < blocks; i += 4) {
      const x = half
        ? widen(v128.load_ext<u16>(from + (<usize>i << 1)))
        : v128.load(from + (<usize>i << 2));
      const bias = v128.load(bDec + (<usize>i << 2));
      v128.store(to + (<usize>i << 2), f32x4.sub(f32x4.mul(x, s), bias));
    }
    for (let i = blocks; i < dIn; i++) {
      const x = half
        ? f32x4.extract_lane(widen(i32x4.splat(load<u16>(from + (<usize>i << 1)))), 0)
        : load<f32>(from + (<usize>i << 2));
      store<f32>(to + (<usize>i << 2), x * scale - load<f32>(bDec + (<usize>i << 2)));
    }
    for (let i = dIn; i < d; i++) store<f32>(to + (<usize>i << 2), 0);
  }
}

/** Four float16 numbers, as bits in 32-bit lanes, to float32. */
// @ts-ignore: decorator
@inline
function widen(bits: v128): v128 {
  const magnitude = i32x4.shl(v128.and(bits, i32x4.splat(0x7fff)), 13);
  const sign = i32x4.shl(v128.and(bits, i32x4.splat(0x8000)), 16);
  // The exponent's bias differs by 112; multiplying also gives subnormals their value.
  const finite = f32x4.mul(magnitude, f32x4.splat(reinterpret<f32>(0x77800000)));
  const special = i32x4.ge_s(magnitude, i32x4.splat(0x7c00 << 13));
  return v128.or(sign, v128.or(finite, v128.and(special, i32x4.splat(0x7f800000))));
}

/**
 * Σ_b Σ_i (x[b,i] − mean_b x[b,i])² over columns [first, last), both multiples of 4. Means are taken about the first
 * row: rows that are all alike have no variance at all, not that of rounded means.
 *
 * @param x [rows, d]
 */
export function columnVariance(x: usize, rows: i32, d: i32, first: i32, last: i32): f64 {
  const stride = <usize>d << 2;
  let total: f64 = 0;
  for (let i = first; i < last; i += 4) {
    const column = x + (<usize>i << 2);
    const origin = v128.load(column);
    let sum = f32x4.splat(0);
    let at = column;
    for (let row = 0; row < rows; row++, at += stride) sum = f32x4.add(sum, f32x4.sub(v128.load(at), origin));
    const mean = f32x4.mul(sum, f32x4.splat(1 / <f32>rows));
    let squares = f32x4.splat(0);
    at = column;
    for (let row = 0; row < rows; row++, at += stride) {
      const difference = f32x4.sub(f32x4.sub(v128.load(at), origin), mean);
      squares = f32x4.add(squares, f32x4.mul(difference, difference));
    }
    total +=
      <f64>f32x4.extract_lane(squares, 0) +
      <f64>f32x4.extract_lane(squares, 1) +
      <f64>f32x4.extract_lane(squares, 2) +
      <f64>f32x4.extract_lane(squares, 3);
  }
  return total;
}
