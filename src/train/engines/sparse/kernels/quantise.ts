import { sumLanes } from './lanes';

// Products of rows whose largest numbers lie between these neither underflow nor overflow float32 noticeably.
const SMALLEST: f32 = 1e-15;
const LARGEST: f32 = 1e15;

/**
 * Rows as integers q = round(x / step), step = max |x| / levels, with what a bound on products of such rows needs.
 * Lengths are in units of a step, rounded up beyond any rounding made here.
 *
 * @param source [rows, d]
 * @param flip 0 for int8; 0x80 for uint8 with zero point 128
 * @param q [rows, d] bytes
 * @param inverse [rows] 1 / step
 * @param error [rows] at least |x / step − q|
 * @param length [rows] at least |x / step| and at least |q|
 */
export function quantise(
  source: usize,
  rows: i32,
  d: i32,
  levels: f32,
  flip: i32,
  q: usize,
  inverse: usize,
  error: usize,
  length: usize,
): void {
  const bytes = <usize>d << 2;
  const flips = i8x16.splat(<i8>flip);
  // x · (1 / step) is off from x / step by two roundings of at most `levels`.
  const rounding = <f32>Math.sqrt(d) * levels * 3e-7;
  for (let row = 0; row < rows; row++) {
    const from = source + <usize>row * bytes;
    let largest = f32x4.splat(0);
    for (let k: usize = 0; k < bytes; k += 64) {
      const a = f32x4.max(f32x4.abs(v128.load(from + k)), f32x4.abs(v128.load(from + k, 16)));
      const b = f32x4.max(f32x4.abs(v128.load(from + k, 32)), f32x4.abs(v128.load(from + k, 48)));
      largest = f32x4.max(largest, f32x4.max(a, b));
    }
    const max: f32 = Mathf.max(
      Mathf.max(f32x4.extract_lane(largest, 0), f32x4.extract_lane(largest, 1)),
      Mathf.max(f32x4.extract_lane(largest, 2), f32x4.extract_lane(largest, 3)),
    );
    // Rows whose products might underflow stay zero; their whole length is error.
    const inv: f32 = max > SMALLEST ? levels / max : 1;
    const scale = f32x4.splat(inv);
    let errors = f32x4.splat(0);
    let squares = f32x4.splat(0);
    const to = q + ((<usize>row * bytes) >> 2);
    for (let k: usize = 0; k < bytes; k += 64) {
      const u0 = f32x4.mul(v128.load(from + k), scale);
      const u1 = f32x4.mul(v128.load(from + k, 16), scale);
      const u2 = f32x4.mul(v128.load(from + k, 32), scale);
      const u3 = f32x4.mul(v128.load(from + k, 48), scale);
      const n0 = f32x4.nearest(u0);
      const n1 = f32x4.nearest(u1);
      const n2 = f32x4.nearest(u2);
      const n3 = f32x4.nearest(u3);
      const e0 = f32x4.sub(u0, n0);
      const e1 = f32x4.sub(u1, n1);
      const e2 = f32x4.sub(u2, n2);
      const e3 = f32x4.sub(u3, n3);
      errors = f32x4.add(
        errors,
        f32x4.add(
          f32x4.add(f32x4.mul(e0, e0), f32x4.mul(e1, e1)),
          f32x4.add(f32x4.mul(e2, e2), f32x4.mul(e3, e3)),
        ),
      );
      squares = f32x4.add(
        squares,
        f32x4.add(
          f32x4.add(f32x4.mul(u0, u0), f32x4.mul(u1, u1)),
          f32x4.add(f32x4.mul(u2, u2), f32x4.mul(u3, u3)),
        ),
      );
      const low = i16x8.narrow_i32x4_s(i32x4.trunc_sat_f32x4_s(n0), i32x4.trunc_sat_f32x4_s(n1));
      const high = i16x8.narrow_i32x4_s(i32x4.trunc_sat_f32x4_s(n2), i32x4.trunc_sat_f32x4_s(n3));
      v128.store(to + (k >> 2), v128.xor(i8x16.narrow_i16x8_s(low, high), flips));
    }
    // A product of such rows may overflow on the way, wherever the true one lies: nothing bounds it.
    const off = max > LARGEST ? <f32>Infinity : Mathf.sqrt(sumLanes(errors)) * 1.0001 + rounding;
    store<f32>(inverse + (<usize>row << 2), inv);
    store<f32>(error + (<usize>row << 2), off);
    store<f32>(length + (<usize>row << 2), Mathf.sqrt(sumLanes(squares)) * 1.0001 + off);
  }
}

/**
 * to[i, b] = from[b, i]; columns [rows, rowsPadded) of `to` become zero.
 *
 * @param from [rows, d] bytes
 * @param to [d, rowsPadded] bytes, rowsPadded a multiple of 16
 */
export function transposeBytes(from: usize, to: usize, rows: i32, rowsPadded: i32, d: i32): void {
  const stride = <usize>d;
  for (let b = 0; b < rowsPadded; b += 16) {
    if (b + 16 > rows) {
      for (let i = 0; i < d; i++) {
        for (let k = b; k < b + 16; k++) {
          const value = k < rows ? load<u8>(from + <usize>k * stride + <usize>i) : 0;
          store<u8>(to + <usize>i * <usize>rowsPadded + <usize>k, value);
        }
      }
      continue;
    }
    for (let i = 0; i < d; i += 4) {
      // 16 rows × 4 columns: four gathers of 32 bits, then bytes of one column beside each other.
      const at = from + <usize>b * stride + <usize>i;
      const r0 = four(at, stride);
      const r1 = four(at + 4 * stride, stride);
      const r2 = four(at + 8 * stride, stride);
      const r3 = four(at + 12 * stride, stride);
      const low01 = i8x16.shuffle(r0, r1, 0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29);
      const low23 = i8x16.shuffle(r2, r3, 0, 4, 8, 12, 16, 20, 24, 28, 1, 5, 9, 13, 17, 21, 25, 29);
      const high01 = i8x16.shuffle(r0, r1, 2, 6, 10, 14, 18, 22, 26, 30, 3, 7, 11, 15, 19, 23, 27, 31);
      const high23 = i8x16.shuffle(r2, r3, 2, 6, 10, 14, 18, 22, 26, 30, 3, 7, 11, 15, 19, 23, 27, 31);
      const out = to + <usize>i * <usize>rowsPadded + <usize>b;
      v128.store(out, i64x2.shuffle(low01, low23, 0, 2));
      v128.store(out + <usize>rowsPadded, i64x2.shuffle(low01, low23, 1, 3));
      v128.store(out + 2 * <usize>rowsPadded, i64x2.shuffle(high01, high23, 0, 2));
      v128.store(out + 3 * <usize>rowsPadded, i64x2.shuffle(high01, high23, 1, 3));
    }
  }
}

/** 32 bits of each of four rows. */
// @ts-ignore: decorator
@inline
function four(at: usize, stride: usize): v128 {
  let v = i32x4.splat(load<i32>(at));
  v = i32x4.replace_lane(v, 1, load<i32>(at + stride));
  v = i32x4.replace_lane(v, 2, load<i32>(at + 2 * stride));
  return i32x4.replace_lane(v, 3, load<i32>(at + 3 * stride));
}
