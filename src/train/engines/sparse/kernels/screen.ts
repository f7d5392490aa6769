import { at } from './lanes';

/**
 * Lists, feature by feature, every token that the int8 product cannot exclude from being active.
 *
 * In steps of its row's quantisation let X = x / step_x = q_x + e_x and W = w / step_w = q_w + e_w. Then
 * X·W − q_x·q_w = e_x·W + q_x·e_w, so |X·W − q_x·q_w| ≤ |e_x||W| + |q_x||e_w| (Cauchy–Schwarz), and x·w + bias > 0
 * needs  q_x·q_w + bias / (step_x step_w) + |e_x||W| + |q_x||e_w| > 0.  `wide` widens this by the roundings of
 * float32, here and in the exact product that follows; see the README in the folder above.
 *
 * @param acc [rows, Bp] int32, q_w · q_x
 * @param bias, wInverse, wError, wLength [rows]
 * @param xInverse, xError, xLength [Bp], zero beyond B
 * @param start [rows + 1] out: first candidate of each feature
 * @param candidates [capacity] out: tokens
 * @returns the number of candidates, or −1 when there are more than capacity
 */
export function screen(
  acc: usize,
  rows: i32,
  B: i32,
  Bp: i32,
  bias: usize,
  wInverse: usize,
  wError: usize,
  wLength: usize,
  xInverse: usize,
  xError: usize,
  xLength: usize,
  wide: f32,
  start: usize,
  candidates: usize,
  capacity: i32,
): i32 {
  const zero = f32x4.splat(0);
  let count = 0;
  for (let row = 0; row < rows; row++) {
    store<u32>(start + (<usize>row << 2), count);
    if (count + Bp > capacity) {
      // The row might not fit; it is counted before it is written.
      if (count + countRow(acc, row, B, Bp, bias, wInverse, wError, wLength, xInverse, xError, xLength, wide) > capacity)
        return -1;
    }
    const j = <usize>row;
    const length = at(wLength, j);
    const a = f32x4.splat(at(bias, j) * at(wInverse, j));
    const c = f32x4.splat(length);
    const e = f32x4.splat(at(wError, j) + wide * length);
    const line = acc + ((<usize>row * <usize>Bp) << 2);
    for (let b = 0; b < Bp; b += 16) {
      const k = <usize>b << 2;
      const m0 = open(line + k, xInverse + k, xError + k, xLength + k, a, c, e, zero);
      const m1 = open(line + k + 16, xInverse + k + 16, xError + k + 16, xLength + k + 16, a, c, e, zero);
      const m2 = open(line + k + 32, xInverse + k + 32, xError + k + 32, xLength + k + 32, a, c, e, zero);
      const m3 = open(line + k + 48, xInverse + k + 48, xError + k + 48, xLength + k + 48, a, c, e, zero);
      let bits = i8x16.bitmask(i8x16.narrow_i16x8_s(i16x8.narrow_i32x4_s(m0, m1), i16x8.narrow_i32x4_s(m2, m3)));
      while (bits) {
        const token = b + ctz(bits);
        bits &= bits - 1;
        if (token < B) {
          store<u32>(candidates + (<usize>count << 2), token);
          count++;
        }
      }
    }
  }
  store<u32>(start + (<usize>rows << 2), count);
  return count;
}

/** Lanes where the bound leaves a positive pre-activation possible; NaN counts as possible. */
// @ts-ignore: decorator
@inline
function open(
  acc: usize,
  xInverse: usize,
  xError: usize,
  xLength: usize,
  a: v128,
  c: v128,
  e: v128,
  zero: v128,
): v128 {
  const bound = f32x4.add(f32x4.mul(c, v128.load(xError)), f32x4.mul(e, v128.load(xLength)));
  const value = f32x4.add(f32x4.convert_i32x4_s(v128.load(acc)), f32x4.mul(a, v128.load(xInverse)));
  return v128.not(f32x4.le(f32x4.add(value, bound), zero));
}

function countRow(
  acc: usize,
  row: i32,
  B: i32,
  Bp: i32,
  bias: usize,
  wInverse: usize,
  wError: usize,
  wLength: usize,
  xInverse: usize,
  xError: usize,
  xLength: usize,
  wide: f32,
): i32 {
  const j = <usize>row;
  const length = at(wLength, j);
  const a = f32x4.splat(at(bias, j) * at(wInverse, j));
  const c = f32x4.splat(length);
  const e = f32x4.splat(at(wError, j) + wide * length);
  const line = acc + ((<usize>row * <usize>Bp) << 2);
  let count = 0;
  for (let b = 0; b < B; b += 4) {
    const k = <usize>b << 2;
    let bits = i32x4.bitmask(open(line + k, xInverse + k, xError + k, xLength + k, a, c, e, f32x4.splat(0)));
    // A row that bounds nothing has NaN in the padding too.
    if (b + 4 > B) bits &= (1 << (B - b)) - 1;
    count += popcnt(bits);
  }
  return count;
}
