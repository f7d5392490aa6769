// Sums over rows of activations, compiled to a WebAssembly module that imports its memory. They are those of
// ActivationSums.add (statistics.ts in the folder above), to the bit. Pointers are byte addresses.
//
// Element types are distinguished by types of their size: f32 is float32, u16 is bfloat16 bits, i16 float16 bits.

/** Element types of rows (sums-kernel.ts in the folder above). */
const FLOAT32 = 0;
const BFLOAT16 = 2;

/**
 * Adds rows x [rows, d] to `sums`, float64 [2, d]: Σ x, then Σ x². Four rows are added at a time, and the
 * last ones one by one.
 *
 * @param norms float64 [rows], set to |x|²
 */
export function addRows(x: usize, type: i32, rows: i32, d: usize, sums: usize, norms: usize): void {
  if (type == FLOAT32) addTyped<f32>(x, rows, d, sums, norms);
  else if (type == BFLOAT16) addTyped<u16>(x, rows, d, sums, norms);
  else addTyped<i16>(x, rows, d, sums, norms);
}

function addTyped<T>(x: usize, rows: i32, d: usize, sums: usize, norms: usize): void {
  const row = d * sizeof<T>();
  let left = rows;
  for (; left >= 4; left -= 4) {
    addFour<T>(x, d, sums, norms);
    x += 4 * row;
    norms += 32;
  }
  for (; left > 0; left--) {
    store<f64>(norms, addOne<T>(x, d, sums));
    x += row;
    norms += 8;
  }
}

/** Four rows, so that each sum is read and written once for all of them. */
function addFour<T>(x: usize, d: usize, sums: usize, norms: usize): void {
  const row = d * sizeof<T>();
  const squares = sums + (d << 3);
  const whole = d & ~3;
  // Each row's |x|² is added up entry by entry: lanes are rows.
  let first = f64x2.splat(0);
  let last = f64x2.splat(0);
  for (let i: usize = 0; i < whole; i += 4) {
    const from = x + i * sizeof<T>();
    const a = four<T>(from);
    const b = four<T>(from + row);
    const c = four<T>(from + 2 * row);
    const e = four<T>(from + 3 * row);
    const to = sums + (i << 3);
    const toSquares = squares + (i << 3);
    const a0 = low(a);
    const b0 = low(b);
    const c0 = low(c);
    const e0 = low(e);
    addTo(to, a0, b0, c0, e0);
    addTo(toSquares, square(a0), square(b0), square(c0), square(e0));
    first = addPairs(first, square(a0), square(b0));
    last = addPairs(last, square(c0), square(e0));
    const a1 = high(a);
    const b1 = high(b);
    const c1 = high(c);
    const e1 = high(e);
    addTo(to + 16, a1, b1, c1, e1);
    addTo(toSquares + 16, square(a1), square(b1), square(c1), square(e1));
    first = addPairs(first, square(a1), square(b1));
    last = addPairs(last, square(c1), square(e1));
  }
  for (let i = whole; i < d; i++) {
    const from = x + i * sizeof<T>();
    const a = f64x2.splat(one<T>(from));
    const b = f64x2.splat(one<T>(from + row));
    const c = f64x2.splat(one<T>(from + 2 * row));
    const e = f64x2.splat(one<T>(from + 3 * row));
    addLow(sums + (i << 3), a, b, c, e);
    addLow(squares + (i << 3), square(a), square(b), square(c), square(e));
    first = f64x2.add(first, v128.shuffle<f64>(square(a), square(b), 0, 2));
    last = f64x2.add(last, v128.shuffle<f64>(square(c), square(e), 0, 2));
  }
  v128.store(norms, first);
  v128.store(norms, last, 16);
}

/** @returns |x|² */
function addOne<T>(x: usize, d: usize, sums: usize): f64 {
  const squares = sums + (d << 3);
  let norm: f64 = 0;
  for (let i: usize = 0; i < d; i++) {
    const value = one<T>(x + i * sizeof<T>());
    const at = i << 3;
    store<f64>(sums + at, load<f64>(sums + at) + value);
    store<f64>(squares + at, load<f64>(squares + at) + value * value);
    norm += value * value;
  }
  return norm;
}

/** Adds four rows' numbers of two dimensions to their sums. */
// @ts-ignore: decorator
@inline
function addTo(at: usize, a: v128, b: v128, c: v128, e: v128): void {
  v128.store(at, f64x2.add(v128.load(at), f64x2.add(f64x2.add(a, b), f64x2.add(c, e))));
}

/** The same for one dimension, in lane 0. */
// @ts-ignore: decorator
@inline
function addLow(at: usize, a: v128, b: v128, c: v128, e: v128): void {
  store<f64>(at, load<f64>(at) + f64x2.extract_lane(f64x2.add(f64x2.add(a, b), f64x2.add(c, e)), 0));
}

/** Adds two dimensions of two rows to these rows' sums, one dimension after the other. */
// @ts-ignore: decorator
@inline
function addPairs(sums: v128, a: v128, b: v128): v128 {
  return f64x2.add(f64x2.add(sums, v128.shuffle<f64>(a, b, 0, 2)), v128.shuffle<f64>(a, b, 1, 3));
}

// @ts-ignore: decorator
@inline
function square(x: v128): v128 {
  return f64x2.mul(x, x);
}

/** The first two of four float32 numbers as float64. */
// @ts-ignore: decorator
@inline
function low(x: v128): v128 {
  return f64x2.promote_low_f32x4(x);
}

/** The last two. */
// @ts-ignore: decorator
@inline
function high(x: v128): v128 {
  return f64x2.promote_low_f32x4(v128.shuffle<i64>(x, x, 1, 1));
}

/** Four entries as float32. */
// @ts-ignore: decorator
@inline
function four<T>(at: usize): v128 {
  if (isFloat<T>()) return v128.load(at);
  return wide<T>(v128.load_ext<u16>(at));
}

/** One entry. */
// @ts-ignore: decorator
@inline
function one<T>(at: usize): f64 {
  if (isFloat<T>()) return <f64>load<f32>(at);
  return <f64>f32x4.extract_lane(wide<T>(i32x4.splat(load<u16>(at))), 0);
}

/** Four numbers of a 16-bit type, as bits in 32-bit lanes, to float32. */
// @ts-ignore: decorator
@inline
function wide<T>(bits: v128): v128 {
  if (!isSigned<T>()) return i32x4.shl(bits, 16);
  const magnitude = i32x4.shl(v128.and(bits, i32x4.splat(0x7fff)), 13);
  const sign = i32x4.shl(v128.and(bits, i32x4.splat(0x8000)), 16);
  // The exponent's bias differs by 112; multiplying also gives subnormals their value.
  const finite = f32x4.mul(magnitude, f32x4.splat(reinterpret<f32>(0x77800000)));
  const special = i32x4.ge_s(magnitude, i32x4.splat(0x7c00 << 13));
  return v128.or(sign, v128.or(finite, v128.and(special, i32x4.splat(0x7f800000))));
}
