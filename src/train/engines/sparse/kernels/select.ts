import { at, Entries, indexAt, Step, sumLanes } from './memory';

// Which pre-activations h = p + bias become entries: those above 0, or among them the k largest per token or per batch.
// Per token there is a heap of the k largest so far, initially zeros: its root only increases, and smaller values are
// not entries. Per batch there is a single threshold, which the caller raises (largest-of-batch.ts above this folder).
// NaN counts as infinite, so that it becomes an entry and reaches the loss.

/** Margin of the screen for rounding in a token's k-th largest and in biases; float32 needs a sixteenth of it. */
const ROUNDING: f32 = 1e-6;

/**
 * Lists, feature by feature, every token that the int8 product cannot exclude.
 *
 * In steps of its row's quantisation let X = x / step_x = q_x + e_x and W = w / step_w = q_w + e_w. Then X·W − q_x·q_w
 * = e_x·W + q_x·e_w, so |X·W − q_x·q_w| ≤ |e_x||W| + |q_x||e_w| (Cauchy–Schwarz), and x·w + bias > t requires q_x·q_w +
 * (bias − t) / (step_x step_w) + |e_x||W| + |q_x||e_w| > 0. `wide` adds a margin for float32 rounding, here and in the
 * exact product that follows; see the README in the folder above.
 *
 * @param first feature of row 0 of the strip, whose int32 products are in the tile
 * @param from, to rows of the strip
 * @returns the number of candidates, listed from candidateStart[0] on, or −1 when there are more than capacity
 */
export function screen(s: Step, list: Entries, first: i32, from: i32, to: i32, capacity: i32): i32 {
  const limited = list.k != 0 || list.least > 0;
  if (limited) scaleThresholds(s, list);
  let count = 0;
  for (let row = from; row < to; row++) {
    store<u32>(s.candidateStart + (<usize>(row - from) << 2), count);
    // The row might not fit; it is counted before it is written.
    if (count + s.Bp > capacity && count + countRow(s, list, first, row, limited) > capacity) return -1;
    if (limited) count = screenRow(s, list, first, row, count, true);
    else count = screenRow(s, list, first, row, count, false);
  }
  store<u32>(s.candidateStart + (<usize>(to - from) << 2), count);
  return count;
}

/** The threshold, either the heaps' roots or one number, in the units of the screen. */
function scaleThresholds(s: Step, list: Entries): void {
  const apart = <usize>list.k << 2;
  let root = list.top;
  for (let b: usize = 0; b < <usize>s.B; b++, root += apart) {
    const threshold = list.k ? load<f32>(root) : list.least;
    store<f32>(list.above + (b << 2), threshold * (1 - ROUNDING) * at(s.x.inverse, b));
  }
}

/** Appends the candidates of a row; returns the total number. */
// @ts-ignore: decorator
@inline
function screenRow(s: Step, list: Entries, first: i32, row: i32, before: i32, limited: bool): i32 {
  const B = s.B;
  const Bp = s.Bp;
  const candidates = s.candidates;
  const length = at(s.w.length, row);
  const bias = at(s.opens, first + row);
  const w = f32x4.splat(at(s.w.inverse, row));
  const a = f32x4.splat((limited ? bias + Mathf.abs(bias) * ROUNDING : bias) * at(s.w.inverse, row));
  const c = f32x4.splat(length);
  const e = f32x4.splat(at(s.w.error, row) + s.wide * length);
  const line = s.tile + ((<usize>row * <usize>Bp) << 2);
  const inverse = s.x.inverse;
  const above = list.above;
  // Error and length follow inverse at distance Bp (memory.ts above this folder plans them as one array).
  const apart = <usize>Bp << 2;
  let count = before;
  for (let b = 0; b < Bp; b += 16) {
    const k = <usize>b << 2;
    const v0 = shifted(line + k, above + k, w, limited);
    const v1 = shifted(line + k + 16, above + k + 16, w, limited);
    const v2 = shifted(line + k + 32, above + k + 32, w, limited);
    const v3 = shifted(line + k + 48, above + k + 48, w, limited);
    const m0 = lanesOpen(v0, inverse + k, apart, a, c, e);
    const m1 = lanesOpen(v1, inverse + k + 16, apart, a, c, e);
    const m2 = lanesOpen(v2, inverse + k + 32, apart, a, c, e);
    const m3 = lanesOpen(v3, inverse + k + 48, apart, a, c, e);
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
  return count;
}

/** Four integer products, minus the tokens' thresholds in the same units. */
// @ts-ignore: decorator
@inline
function shifted(acc: usize, above: usize, w: v128, limited: bool): v128 {
  const value = f32x4.convert_i32x4_s(v128.load(acc));
  return limited ? f32x4.sub(value, f32x4.mul(w, v128.load(above))) : value;
}

/**
 * Lanes in which the bound does not exclude an entry; NaN counts as possible.
 *
 * @param x 1 / step of four tokens; their errors and lengths follow at a distance of `apart` bytes
 */
// @ts-ignore: decorator
@inline
function lanesOpen(value: v128, x: usize, apart: usize, a: v128, c: v128, e: v128): v128 {
  const bound = f32x4.add(f32x4.mul(c, v128.load(x + apart)), f32x4.mul(e, v128.load(x + 2 * apart)));
  const sum = f32x4.add(value, f32x4.mul(a, v128.load(x)));
  return v128.not(f32x4.le(f32x4.add(sum, bound), f32x4.splat(0)));
}

/** Candidates of a row. */
function countRow(s: Step, list: Entries, first: i32, row: i32, limited: bool): i32 {
  const length = at(s.w.length, row);
  const bias = at(s.opens, first + row);
  const w = f32x4.splat(at(s.w.inverse, row));
  const a = f32x4.splat((limited ? bias + Mathf.abs(bias) * ROUNDING : bias) * at(s.w.inverse, row));
  const c = f32x4.splat(length);
  const e = f32x4.splat(at(s.w.error, row) + s.wide * length);
  const line = s.tile + ((<usize>row * <usize>s.Bp) << 2);
  let count = 0;
  for (let b = 0; b < s.B; b += 4) {
    const k = <usize>b << 2;
    const value = shifted(line + k, list.above + k, w, limited);
    let bits = i32x4.bitmask(lanesOpen(value, s.x.inverse + k, <usize>s.Bp << 2, a, c, e));
    // A row without a bound has NaN in the padding too.
    if (b + 4 > s.B) bits &= (1 << (s.B - b)) - 1;
    count += popcnt(bits);
  }
  return count;
}

/**
 * The exact products of candidates listed by `screen` for rows [from, to) of the strip starting at feature `first`:
 * appends those that are entries. Each product is summed in the same order, whatever the grouping.
 */
export function exact(s: Step, list: Entries, first: i32, from: i32, to: i32): void {
  if (list.k) exactBy(s, list, first, from, to, true);
  else exactBy(s, list, first, from, to, false);
}

// @ts-ignore: decorator
@inline
function exactBy(s: Step, list: Entries, first: i32, from: i32, to: i32, limited: bool): void {
  const bytes = <usize>s.dIn << 2;
  const candidates = s.candidates;
  const dots = s.dots;
  const x = s.xc;
  // Fields are read once: in the loops, the compiler could not know that they stay the same.
  const token = list.token;
  const p = list.p;
  const least = list.least;
  let count = <usize>list.count;
  for (let row: usize = 0; row < <usize>(to - from); row++) {
    const j = <usize>(first + from) + row;
    begin(list, j, count);
    const w = s.wEnc + j * bytes;
    const bias = at(s.opens, j);
    let k = indexAt(s.candidateStart, row);
    const end = indexAt(s.candidateStart, row + 1);
    for (; k + 8 <= end; k += 8) {
      const tokens = candidates + (k << 2);
      eightDots(w, x, bytes, tokens, dots);
      for (let i: usize = 0; i < 8; i++) {
        const t = indexAt(tokens, i);
        const value = at(dots, i);
        if (limited) count = keepAbove(list, count, t, value, bias);
        else count = keep(token, p, count, t, value, !(value + bias <= least));
      }
    }
    for (; k < end; k++) {
      const t = indexAt(candidates, k);
      const xRow = x + t * bytes;
      let sum = f32x4.splat(0);
      for (let i: usize = 0; i < bytes; i += 16) sum = f32x4.add(sum, f32x4.mul(v128.load(w + i), v128.load(xRow + i)));
      const value = sumLanes(sum);
      if (limited) count = keepAbove(list, count, t, value, bias);
      else count = keep(token, p, count, t, value, !(value + bias <= least));
    }
  }
  list.count = <u32>count;
}

/** w · x[token] of eight tokens. */
// @ts-ignore: decorator
@inline
function eightDots(w: usize, x: usize, bytes: usize, tokens: usize, out: usize): void {
  let x0 = x + <usize>load<u32>(tokens, 0) * bytes;
  let x1 = x + <usize>load<u32>(tokens, 4) * bytes;
  let x2 = x + <usize>load<u32>(tokens, 8) * bytes;
  let x3 = x + <usize>load<u32>(tokens, 12) * bytes;
  let x4 = x + <usize>load<u32>(tokens, 16) * bytes;
  let x5 = x + <usize>load<u32>(tokens, 20) * bytes;
  let x6 = x + <usize>load<u32>(tokens, 24) * bytes;
  let x7 = x + <usize>load<u32>(tokens, 28) * bytes;
  let s0 = f32x4.splat(0);
  let s1 = f32x4.splat(0);
  let s2 = f32x4.splat(0);
  let s3 = f32x4.splat(0);
  let s4 = f32x4.splat(0);
  let s5 = f32x4.splat(0);
  let s6 = f32x4.splat(0);
  let s7 = f32x4.splat(0);
  for (let i: usize = 0; i < bytes; i += 32) {
    let v = v128.load(w + i);
    s0 = f32x4.add(s0, f32x4.mul(v, v128.load(x0)));
    s1 = f32x4.add(s1, f32x4.mul(v, v128.load(x1)));
    s2 = f32x4.add(s2, f32x4.mul(v, v128.load(x2)));
    s3 = f32x4.add(s3, f32x4.mul(v, v128.load(x3)));
    s4 = f32x4.add(s4, f32x4.mul(v, v128.load(x4)));
    s5 = f32x4.add(s5, f32x4.mul(v, v128.load(x5)));
    s6 = f32x4.add(s6, f32x4.mul(v, v128.load(x6)));
    s7 = f32x4.add(s7, f32x4.mul(v, v128.load(x7)));
    v = v128.load(w + i, 16);
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
  store<f32>(out, sumLanes(s0), 0);
  store<f32>(out, sumLanes(s1), 4);
  store<f32>(out, sumLanes(s2), 8);
  store<f32>(out, sumLanes(s3), 12);
  store<f32>(out, sumLanes(s4), 16);
  store<f32>(out, sumLanes(s5), 20);
  store<f32>(out, sumLanes(s6), 24);
  store<f32>(out, sumLanes(s7), 28);
}

/**
 * Appends the entries of rows with known float32 products with the batch. If there are more than the list's limit, the
 * list is unchanged.
 *
 * @param product [rows, Bp]
 * @param features [rows] u32, ascending: the features of the rows; 0: consecutive from `first`
 * @returns whether they were appended
 */
export function compact(s: Step, list: Entries, product: usize, features: usize, first: i32, rows: i32): bool {
  const token = list.token;
  const p = list.p;
  const next = list.next;
  const limit = <i32>list.limit;
  let count = <usize>list.count;
  for (let row: usize = 0; row < <usize>rows; row++) {
    const j = features ? indexAt(features, row) : <usize>first + row;
    begin(list, j, count);
    const line = product + ((row * <usize>s.Bp) << 2);
    const bias = at(s.opens, j);
    if (list.k) {
      for (let t: usize = 0; t < <usize>s.B; t++) count = keepAbove(list, count, t, at(line, t), bias);
      continue;
    }
    const listed = <i32>count - <i32>list.count;
    if (listed + s.B > limit && listed + countOpen(line, s.B, bias) > limit) {
      list.next = next;
      return false;
    }
    for (let t: usize = 0; t < <usize>s.B; t++) {
      const value = at(line, t);
      count = keep(token, p, count, t, value, !(value + bias <= 0));
    }
  }
  list.count = <u32>count;
  return true;
}

function countOpen(line: usize, B: i32, bias: f32): i32 {
  let count = 0;
  for (let t = 0; t < B; t++) count += i32(!(at(line, t) + bias <= 0));
  return count;
}

/** Records that the entries of feature j start at number `count`; skipped features before it have none. */
// @ts-ignore: decorator
@inline
function begin(list: Entries, j: usize, count: usize): void {
  let next = <usize>list.next;
  for (; next <= j; next++) store<u32>(list.start + (next << 2), <u32>count);
  list.next = <u32>next;
}

/** Starts an empty list. */
export function open(s: Step, list: Entries): void {
  list.count = 0;
  list.next = 0;
  if (list.k) memory.fill(list.top, 0, (<usize>s.B * <usize>list.k) << 2);
}

/** Ends a list: skipped features after the last have no entries. */
export function close(s: Step, list: Entries): void {
  begin(list, s.features, list.count);
}

/** Appends an entry if it is one: above a threshold, or NaN, which must reach the loss. Branch-free. */
// @ts-ignore: decorator
@inline
function keep(token: usize, p: usize, count: usize, t: usize, value: f32, open: bool): usize {
  store<u32>(token + (count << 2), <u32>t);
  store<f32>(p + (count << 2), value);
  return count + <usize>open;
}

/** Appends an entry if it is above the root of its token's heap, which it replaces. */
// @ts-ignore: decorator
@inline
function keepAbove(list: Entries, count: usize, t: usize, value: f32, bias: f32): usize {
  const h = key(value + bias);
  const heap = list.top + ((t * <usize>list.k) << 2);
  if (h <= load<f32>(heap)) return count;
  replaceRoot(heap, list.k, h);
  store<u32>(list.token + (count << 2), <u32>t);
  store<f32>(list.p + (count << 2), value);
  return count + 1;
}

/** The value by which pre-activations are compared. */
// @ts-ignore: decorator
@inline
function key(h: f32): f32 {
  return h == h ? h : Infinity;
}

/** Replaces a heap's smallest number by a larger one. */
function replaceRoot(heap: usize, k: i32, value: f32): void {
  let i = 0;
  for (let child = 1; child < k; child = 2 * i + 1) {
    if (child + 1 < k && at(heap, child + 1) < at(heap, child)) child++;
    const smaller = at(heap, child);
    if (value <= smaller) break;
    store<f32>(heap + (<usize>i << 2), smaller);
    i = child;
  }
  store<f32>(heap + (<usize>i << 2), value);
}

/**
 * Fills each token's heap with a guessed lower bound of its k-th largest: about the m-th largest of the first strip,
 * using only the int8 products in the tile. No entry is lost if the final k-th largest is above the guess.
 *
 * @param m at most k
 * @param guesses [B] out
 */
export function guess(s: Step, list: Entries, rows: i32, m: i32, guesses: usize): void {
  const heaps = list.top;
  const apart = <usize>m << 2;
  const inverse = s.x.inverse;
  for (let row = 0; row < rows; row++) {
    const line = s.tile + ((<usize>row * <usize>s.Bp) << 2);
    const bias = at(s.opens, row);
    const w = at(s.w.inverse, row);
    let heap = heaps;
    for (let b: usize = 0; b < <usize>s.B; b++, heap += apart) {
      const h = <f32>load<i32>(line + (b << 2)) / (w * at(inverse, b)) + bias;
      if (h > load<f32>(heap) && h < Infinity) replaceRoot(heap, m, h);
    }
  }
  for (let b: usize = 0; b < <usize>s.B; b++) store<f32>(guesses + (b << 2), at(heaps, b * <usize>m));
  for (let b: usize = 0; b < <usize>s.B; b++) {
    for (let i: usize = 0; i < <usize>list.k; i++) store<f32>(heaps + ((b * <usize>list.k + i) << 2), at(guesses, b));
  }
}

/**
 * Raises guesses to just below the m-th largest of each token so far. Smaller numbers in a heap are replaced by the
 * guess: it remains a heap, with the guess as its root.
 *
 * @param m at most k
 * @param guesses [B]
 */
export function raise(s: Step, list: Entries, m: i32, guesses: usize): void {
  const k = list.k;
  for (let b: usize = 0; b < <usize>s.B; b++) {
    const heap = list.top + ((b * <usize>k) << 2);
    const root = load<f32>(heap);
    let below = root;
    let above: f32 = 0;
    for (let i = 0; i < k; i++) above = max(above, at(heap, i));
    for (let halving = 0; halving < 10; halving++) {
      const middle = (below + above) / 2;
      if (countAbove(heap, k, middle) < m) above = middle;
      else below = middle;
    }
    if (!(below > root)) continue;
    store<f32>(guesses + (b << 2), below);
    for (let i = 0; i < k; i++) store<f32>(heap + (<usize>i << 2), max(at(heap, i), below));
  }
}

/** Number of a heap's elements above a number. */
function countAbove(heap: usize, k: i32, value: f32): i32 {
  const least = f32x4.splat(value);
  let counts = i32x4.splat(0);
  let i = 0;
  // A true lane is −1.
  for (; i + 4 <= k; i += 4) counts = i32x4.sub(counts, f32x4.gt(v128.load(heap + (<usize>i << 2)), least));
  let count = i32x4.extract_lane(counts, 0) + i32x4.extract_lane(counts, 1);
  count += i32x4.extract_lane(counts, 2) + i32x4.extract_lane(counts, 3);
  for (; i < k; i++) count += i32(at(heap, i) > value);
  return count;
}

/**
 * The k-th largest per token, from the k largest of each part, and how many entries of each part may equal it: earlier
 * parts take precedence, as they contain lower features.
 *
 * @param tops [parts, rows, k] heaps, plus space for another heap
 * @param floor [rows] out
 * @param ties [parts, rows] out
 */
export function findFloor(tops: usize, parts: i32, rows: i32, k: i32, floor: usize, ties: usize): void {
  const part = (<usize>rows * <usize>k) << 2;
  const merged = tops + <usize>parts * part;
  for (let row: usize = 0; row < <usize>rows; row++) {
    const heap = tops + ((row * <usize>k) << 2);
    memory.copy(merged, heap, <usize>k << 2);
    for (let n: usize = 1; n < <usize>parts; n++) {
      for (let i: usize = 0; i < <usize>k; i++) {
        const value = at(heap + n * part, i);
        if (value > load<f32>(merged)) replaceRoot(merged, k, value);
      }
    }
    const least = load<f32>(merged);
    store<f32>(floor + (row << 2), least);
    let left = equals(merged, k, least);
    for (let n: usize = 0; n < <usize>parts; n++) {
      const mine = min(equals(heap + n * part, k, least), left);
      store<u32>(ties + ((n * <usize>rows + row) << 2), mine);
      left -= mine;
    }
  }
}

function equals(heap: usize, k: i32, value: f32): i32 {
  let count = 0;
  for (let i = 0; i < k; i++) count += i32(at(heap, i) == value);
  return count;
}

/**
 * Counts entries by a digit of their compared value: bits [shift, shift + width) of those whose higher bits are
 * `prefix`. Positive floats are ordered like their bits.
 *
 * @param counts [2^width] u32, accumulated
 */
export function tally(s: Step, list: Entries, prefix: u32, shift: u32, width: u32, counts: usize): void {
  const mask: u32 = (1 << width) - 1;
  let k: usize = 0;
  for (let j: usize = 0; j < <usize>list.next; j++) {
    const end = j + 1 < <usize>list.next ? indexAt(list.start, j + 1) : <usize>list.count;
    const bias = at(s.bias, j);
    for (; k < end; k++) {
      const bits = reinterpret<u32>(key(at(list.p, k) + bias)) >> shift;
      if (bits >> width != prefix) continue;
      const count = counts + (<usize>(bits & mask) << 2);
      store<u32>(count, load<u32>(count) + 1);
    }
  }
}

/**
 * Drops entries below `floor`, and of those equal to it all but the first `ties`, which are decremented: per token, or
 * if k is 0 overall.
 */
export function prune(s: Step, list: Entries): void {
  let count: usize = 0;
  let k: usize = 0;
  for (let j: usize = 0; j < <usize>list.next; j++) {
    const end = j + 1 < <usize>list.next ? indexAt(list.start, j + 1) : <usize>list.count;
    const bias = at(s.opens, j);
    store<u32>(list.start + (j << 2), <u32>count);
    for (; k < end; k++) {
      const t = indexAt(list.token, k);
      const p = at(list.p, k);
      const h = key(p + bias);
      const which = list.k ? t : 0;
      const least = at(list.floor, which);
      if (h < least) continue;
      if (h == least) {
        const ties = list.ties + (which << 2);
        if (load<u32>(ties) == 0) continue;
        store<u32>(ties, load<u32>(ties) - 1);
      }
      store<u32>(list.token + (count << 2), <u32>t);
      store<f32>(list.p + (count << 2), p);
      count++;
    }
  }
  list.count = <u32>count;
}
