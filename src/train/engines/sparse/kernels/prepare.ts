import { at, Quantised, Side, sumLanes } from './memory';

/** Element types of a batch (STORED above this folder). */
const FLOAT32 = 0;
const BFLOAT16 = 2;

/**
 * centred[b] = scale · (factors ∘ source[b]) − taken, for `rows` rows of a batch as read. 16-bit floats are converted
 * exactly, including subnormals, infinities and NaN. The padding is written too.
 */
export function centre(side: Side, rows: i32): void {
  const type = side.type;
  const whole = type == FLOAT32;
  const size = whole ? 2 : 1;
  const width = side.width;
  const taken = side.taken;
  const factors = side.factors;
  const s = f32x4.splat(side.scale);
  const blocks = width & ~3;
  for (let row = 0; row < rows; row++) {
    const from = side.source + ((<usize>row * <usize>width) << size);
    const to = side.centred + ((<usize>row * <usize>side.d) << 2);
    for (let i = 0; i < blocks; i += 4) {
      let x = whole ? v128.load(from + (<usize>i << 2)) : wide(v128.load_ext<u16>(from + (<usize>i << 1)), type);
      if (factors != 0) x = f32x4.mul(x, v128.load(factors + (<usize>i << 2)));
      v128.store(to + (<usize>i << 2), f32x4.sub(f32x4.mul(x, s), v128.load(taken + (<usize>i << 2))));
    }
    for (let i = blocks; i < width; i++) {
      let x = whole
        ? load<f32>(from + (<usize>i << 2))
        : f32x4.extract_lane(wide(i32x4.splat(load<u16>(from + (<usize>i << 1))), type), 0);
      if (factors != 0) x *= at(factors, i);
      store<f32>(to + (<usize>i << 2), x * side.scale - at(taken, i));
    }
    for (let i = width; i < side.d; i++) store<f32>(to + (<usize>i << 2), 0);
  }
}

/** Converts four 16-bit numbers, as bits in 32-bit lanes, to float32. */
// @ts-ignore: decorator
@inline
function wide(bits: v128, type: i32): v128 {
  return type == BFLOAT16 ? i32x4.shl(bits, 16) : widen(bits);
}

/** Converts four float16 numbers, as bits in 32-bit lanes, to float32. */
// @ts-ignore: decorator
@inline
function widen(bits: v128): v128 {
  const magnitude = i32x4.shl(v128.and(bits, i32x4.splat(0x7fff)), 13);
  const sign = i32x4.shl(v128.and(bits, i32x4.splat(0x8000)), 16);
  // The exponents' biases differ by 112; multiplying also handles subnormals.
  const finite = f32x4.mul(magnitude, f32x4.splat(reinterpret<f32>(0x77800000)));
  const special = i32x4.ge_s(magnitude, i32x4.splat(0x7c00 << 13));
  return v128.or(sign, v128.or(finite, v128.and(special, i32x4.splat(0x7f800000))));
}

// Products of rows whose largest numbers are between these neither underflow nor overflow float32 noticeably.
const SMALLEST: f32 = 1e-15;
const LARGEST: f32 = 1e15;

/**
 * Rows [rows, d] as integers q = round(x / step), step = max |x| / levels, with the quantities that bound products of
 * such rows: inverse = 1 / step, error at least |x / step − q|, length at least |x / step| and at least |q|. Lengths
 * are in units of a step, rounded up beyond any rounding error here.
 */
export function quantise(source: usize, rows: i32, to: Quantised): void {
  const bytes = <usize>to.d << 2;
  const flips = i8x16.splat(<i8>to.flip);
  const levels = to.levels;
  // x · (1 / step) differs from x / step by two roundings of at most `levels`.
  const rounding = <f32>Math.sqrt(to.d) * levels * 3e-7;
  for (let row: usize = 0; row < <usize>rows; row++) {
    const from = source + row * bytes;
    const max = largest(from, bytes);
    // Rows whose products might underflow become zero; their entire length is error.
    const inv: f32 = max > SMALLEST ? levels / max : 1;
    quantiseRow(from, bytes, inv, flips, to.q + ((row * bytes) >> 2));
    // Products of such rows may overflow in intermediate steps, whatever their true value: nothing bounds them.
    const off = max > LARGEST ? <f32>Infinity : Mathf.sqrt(rowErrors) * 1.0001 + rounding;
    store<f32>(to.inverse + (row << 2), inv);
    store<f32>(to.error + (row << 2), off);
    store<f32>(to.length + (row << 2), Mathf.sqrt(rowSquares) * 1.0001 + off);
  }
}

/** max |x| of a row. */
// @ts-ignore: decorator
@inline
function largest(from: usize, bytes: usize): f32 {
  let most = f32x4.splat(0);
  for (let k: usize = 0; k < bytes; k += 64) {
    const a = f32x4.max(f32x4.abs(v128.load(from + k)), f32x4.abs(v128.load(from + k, 16)));
    const b = f32x4.max(f32x4.abs(v128.load(from + k, 32)), f32x4.abs(v128.load(from + k, 48)));
    most = f32x4.max(most, f32x4.max(a, b));
  }
  return Mathf.max(
    Mathf.max(f32x4.extract_lane(most, 0), f32x4.extract_lane(most, 1)),
    Mathf.max(f32x4.extract_lane(most, 2), f32x4.extract_lane(most, 3)),
  );
}

/** Σ (x / step − q)² and Σ (x / step)² of the last quantised row. */
let rowErrors: f32 = 0;
let rowSquares: f32 = 0;

// @ts-ignore: decorator
@inline
function quantiseRow(from: usize, bytes: usize, inverse: f32, flips: v128, to: usize): void {
  const scale = f32x4.splat(inverse);
  let errors = f32x4.splat(0);
  let squares = f32x4.splat(0);
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
  rowErrors = sumLanes(errors);
  rowSquares = sumLanes(squares);
}

/**
 * Transposes: to[i, b] = from[b, i]; columns [rows, rowsPadded) of `to` become zero.
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
      // 16 rows × 4 columns: four gathers of 32 bits, then interleaving so that bytes of one column are adjacent.
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

/**
 * Σ_b Σ_i (x[b,i] − mean_b x[b,i])² over columns [first, last), both multiples of 4. Computed relative to the first
 * row: equal rows then have zero variance, instead of that of a rounded mean.
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
