import { at, indexAt, sumLanes } from './lanes';

/**
 * The exact product for candidates: keeps the tokens with w·x + bias > 0. Whatever the grouping, each product is
 * summed in the same order.
 *
 * @param w [rows, d]
 * @param x [B, d]
 * @param start [rows + 1], candidates: lists made by `screen`
 * @param entryStart [rows] out: first entry of each feature
 * @param token, p out: entries from number `entries` on
 * @returns the number of entries after the last
 */
export function encode(
  w: usize,
  rows: i32,
  x: usize,
  d: i32,
  start: usize,
  candidates: usize,
  bias: usize,
  entryStart: usize,
  token: usize,
  p: usize,
  entries: i32,
): i32 {
  const bytes = <usize>d << 2;
  let count = <usize>entries;
  for (let row = 0; row < rows; row++) {
    store<u32>(entryStart + (<usize>row << 2), <u32>count);
    const wRow = w + <usize>row * bytes;
    const b = at(bias, row);
    let k = indexAt(start, row);
    const end = indexAt(start, row + 1);
    for (; k + 8 <= end; k += 8) {
      const t = candidates + (k << 2);
      const b0 = <usize>load<u32>(t);
      const b1 = <usize>load<u32>(t, 4);
      const b2 = <usize>load<u32>(t, 8);
      const b3 = <usize>load<u32>(t, 12);
      const b4 = <usize>load<u32>(t, 16);
      const b5 = <usize>load<u32>(t, 20);
      const b6 = <usize>load<u32>(t, 24);
      const b7 = <usize>load<u32>(t, 28);
      let x0 = x + b0 * bytes;
      let x1 = x + b1 * bytes;
      let x2 = x + b2 * bytes;
      let x3 = x + b3 * bytes;
      let x4 = x + b4 * bytes;
      let x5 = x + b5 * bytes;
      let x6 = x + b6 * bytes;
      let x7 = x + b7 * bytes;
      let s0 = f32x4.splat(0);
      let s1 = f32x4.splat(0);
      let s2 = f32x4.splat(0);
      let s3 = f32x4.splat(0);
      let s4 = f32x4.splat(0);
      let s5 = f32x4.splat(0);
      let s6 = f32x4.splat(0);
      let s7 = f32x4.splat(0);
      for (let i: usize = 0; i < bytes; i += 32) {
        let v = v128.load(wRow + i);
        s0 = f32x4.add(s0, f32x4.mul(v, v128.load(x0)));
        s1 = f32x4.add(s1, f32x4.mul(v, v128.load(x1)));
        s2 = f32x4.add(s2, f32x4.mul(v, v128.load(x2)));
        s3 = f32x4.add(s3, f32x4.mul(v, v128.load(x3)));
        s4 = f32x4.add(s4, f32x4.mul(v, v128.load(x4)));
        s5 = f32x4.add(s5, f32x4.mul(v, v128.load(x5)));
        s6 = f32x4.add(s6, f32x4.mul(v, v128.load(x6)));
        s7 = f32x4.add(s7, f32x4.mul(v, v128.load(x7)));
        v = v128.load(wRow + i, 16);
        s0 = f32x4.add(s0, f32x4.mul(v, v128.load(x0, 16)));
        s1 = f32x4.add(s1, f32x4.mul(v, v128.load(x1, 16)));
        s2 = f32x4.add(s2, f32x4.mul(v, v128.load(x2, 16)));
        s3 = f32x4.add(s3, f32x4.mul(v, v128.load(x3, 16)));
        s4 = f32x4.add(s4, f32x4.mul(v, v128.load(x4, 16)));
        s5 = f32x4.add(s5, f32x4.mul(v, v128.load(x5, 16)));
        s6 = f32x4.add(s6, f32x4.mul(v, v128.load(x6, 16)));
        s7 = f32x4.add(s7, f32x4.mul(v, v128.load(x7, 16)));
        x0 += 32;
        x1 += 32;
        x2 += 32;
        x3 += 32;
        x4 += 32;
        x5 += 32;
        x6 += 32;
        x7 += 32;
      }
      count = keep(token, p, count, b0, sumLanes(s0), b);
      count = keep(token, p, count, b1, sumLanes(s1), b);
      count = keep(token, p, count, b2, sumLanes(s2), b);
      count = keep(token, p, count, b3, sumLanes(s3), b);
      count = keep(token, p, count, b4, sumLanes(s4), b);
      count = keep(token, p, count, b5, sumLanes(s5), b);
      count = keep(token, p, count, b6, sumLanes(s6), b);
      count = keep(token, p, count, b7, sumLanes(s7), b);
    }
    for (; k < end; k++) {
      const t = indexAt(candidates, k);
      const xRow = x + t * bytes;
      let s = f32x4.splat(0);
      for (let i: usize = 0; i < bytes; i += 16) s = f32x4.add(s, f32x4.mul(v128.load(wRow + i), v128.load(xRow + i)));
      count = keep(token, p, count, t, sumLanes(s), b);
    }
  }
  return <i32>count;
}

/**
 * Entries of a strip whose float32 product is known.
 *
 * @param product [rows, Bp]
 * @param limit stop when the strip has more entries than this
 * @returns the number of entries after the last, or −1 when there are more than limit
 */
export function compact(
  product: usize,
  rows: i32,
  B: i32,
  Bp: i32,
  bias: usize,
  entryStart: usize,
  token: usize,
  p: usize,
  entries: i32,
  limit: i32,
): i32 {
  let count = <usize>entries;
  for (let row = 0; row < rows; row++) {
    store<u32>(entryStart + (<usize>row << 2), <u32>count);
    if (<i32>count - entries + B > limit && <i32>count - entries + countOpen(product, row, B, Bp, bias) > limit) return -1;
    const line = product + ((<usize>row * <usize>Bp) << 2);
    const b = at(bias, row);
    for (let t: usize = 0; t < <usize>B; t++) count = keep(token, p, count, t, at(line, t), b);
  }
  return <i32>count;
}

function countOpen(product: usize, row: i32, B: i32, Bp: i32, bias: usize): i32 {
  const line = product + ((<usize>row * <usize>Bp) << 2);
  const b = at(bias, row);
  let count = 0;
  for (let t = 0; t < B; t++) count += i32(!(at(line, t) + b <= 0));
  return count;
}

/** Appends an entry if it is active, or NaN, which must reach the loss; written without a branch. */
// @ts-ignore: decorator
@inline
function keep(token: usize, p: usize, count: usize, t: usize, value: f32, bias: f32): usize {
  store<u32>(token + (count << 2), <u32>t);
  store<f32>(p + (count << 2), value);
  return count + <usize>!(value + bias <= 0);
}
