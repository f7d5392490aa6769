import { at, Entries, indexAt, Step, sumLanes } from './memory';
import { tanhOf } from './jump';
import { GATED, Gated, JUMP, Jump, numberOf, Relu, relu } from './rules';

/**
 * Regroups the entries of features [first, last) from feature-major to token-major by a counting sort, and computes
 * their values f and g. Within a token, features stay in ascending order. Adds to the list's totals, and marks in
 * `fired` the features with f > 0; others are unchanged.
 */
export function regroup(s: Step, list: Entries, first: i32, last: i32): void {
  if (s.rule == GATED) regroupBy<Gated>(s, list, first, last);
  else if (s.rule == JUMP) regroupBy<Jump>(s, list, first, last);
  else regroupBy<Relu>(s, list, first, last);
  // Each start was advanced to its end; shifted by one position, they are starts again.
  const tokenStart = list.tokenStart;
  for (let b = <usize>s.B; b > 0; b--) store<u32>(tokenStart + (b << 2), load<u32>(tokenStart + ((b - 1) << 2)));
  store<u32>(tokenStart, 0);
}

/** Start of each token's entries, without silent ones. */
function countTokens<R>(s: Step, list: Entries, first: i32, last: i32): void {
  const rule = changetype<R>(0);
  const tokenStart = list.tokenStart;
  memory.fill(tokenStart, 0, (<usize>s.B + 1) << 2);
  for (let j = <usize>first; j < <usize>last; j++) {
    const end = indexAt(list.start, j + 1);
    const bias = at(s.bias, j);
    const shift = numberOf<R>(s.shift, j);
    for (let k = indexAt(list.start, j); k < end; k++) {
      if (rule.hasSilent() && relu(rule.magnitude(at(list.p, k), bias, 0, shift)) == 0) continue;
      const count = tokenStart + (indexAt(list.token, k) << 2);
      store<u32>(count, load<u32>(count) + 1);
    }
  }
  let before: u32 = 0;
  for (let b: usize = 0; b <= <usize>s.B; b++) {
    const count = load<u32>(tokenStart + (b << 2));
    store<u32>(tokenStart + (b << 2), before);
    before += count;
  }
}

function regroupBy<R>(s: Step, list: Entries, first: i32, last: i32): void {
  countTokens<R>(s, list, first, last);
  const rule = changetype<R>(0);
  // Fields are read once: in the loop, the compiler could not know that they stay the same.
  const tokenStart = list.tokenStart;
  const feature = list.feature;
  const f = list.f;
  const g = list.g;
  const token = list.token;
  const p = list.p;
  const sumsF = list.sumsF != 0;
  let sum: f64 = 0;
  let active: f64 = 0;
  let below: f64 = 0;
  for (let j = <usize>first; j < <usize>last; j++) {
    const end = indexAt(list.start, j + 1);
    const bias = at(s.bias, j);
    const e = numberOf<R>(s.factor, j);
    const shift = numberOf<R>(s.shift, j);
    let on: u32 = 0;
    for (let k = indexAt(list.start, j); k < end; k++) {
      const pre = at(p, k);
      const value = relu(rule.magnitude(pre, bias, e, shift));
      if (rule.hasSilent() && value == 0) {
        if (e > 0) below += <f64>relu(shift - (pre + bias));
        continue;
      }
      const next = tokenStart + (indexAt(token, k) << 2);
      const slot = <usize>load<u32>(next);
      store<u32>(next, <u32>slot + 1);
      store<u32>(feature + (slot << 2), <u32>j);
      store<f32>(f + (slot << 2), value);
      let penalised = value;
      if (rule.hasSilent() && list.tanhScale != 0) penalised = tanhOf(list, value);
      if (rule.hasSecond()) {
        const open = relu(pre + bias);
        store<f32>(g + (slot << 2), open);
        if (!sumsF) penalised = open;
      }
      sum += <f64>penalised;
      on += u32(value > 0);
    }
    if (on && list.fired) store<u32>(list.fired + (j << 2), 1);
    active += <f64>on;
  }
  store<f64>(list.totals, load<f64>(list.totals) + sum);
  store<f64>(list.totals + 8, load<f64>(list.totals + 8) + active);
  if (rule.hasSilent()) store<f64>(list.totals, load<f64>(list.totals, 16) + below, 16);
}

/**
 * r[b] += Σ_j f[b,j] W_dec[j], and with a second reconstruction second[b] += Σ_j g[b,j] W_dec[j], over a token's
 * entries; four rows of W_dec per pass.
 */
export function decode(s: Step, list: Entries): void {
  if (list.second) decodeBy(s, list, true);
  else decodeBy(s, list, false);
}

// @ts-ignore: decorator
@inline
function decodeBy(s: Step, list: Entries, two: bool): void {
  const bytes = (<usize>s.dOut) << 2;
  const wDec = s.wDec;
  const feature = list.feature;
  const f = list.f;
  const g = list.g;
  for (let b: usize = 0; b < <usize>s.B; b++) {
    const to = list.r + b * bytes;
    const toSecond = list.second + b * bytes;
    const end = indexAt(list.tokenStart, b + 1);
    for (let k = indexAt(list.tokenStart, b); k < end; k += 4) {
      // The last group is padded with its first row times zero.
      const last = end - k;
      const w0 = wDec + indexAt(feature, k) * bytes;
      const w1 = last > 1 ? wDec + indexAt(feature, k + 1) * bytes : w0;
      const w2 = last > 2 ? wDec + indexAt(feature, k + 2) * bytes : w0;
      const w3 = last > 3 ? wDec + indexAt(feature, k + 3) * bytes : w0;
      const f0 = f32x4.splat(at(f, k));
      const f1 = f32x4.splat(last > 1 ? at(f, k + 1) : 0);
      const f2 = f32x4.splat(last > 2 ? at(f, k + 2) : 0);
      const f3 = f32x4.splat(last > 3 ? at(f, k + 3) : 0);
      const g0 = f32x4.splat(two ? at(g, k) : 0);
      const g1 = f32x4.splat(two && last > 1 ? at(g, k + 1) : 0);
      const g2 = f32x4.splat(two && last > 2 ? at(g, k + 2) : 0);
      const g3 = f32x4.splat(two && last > 3 ? at(g, k + 3) : 0);
      for (let i: usize = 0; i < bytes; i += 16) {
        const r0 = v128.load(w0 + i);
        const r1 = v128.load(w1 + i);
        const r2 = v128.load(w2 + i);
        const r3 = v128.load(w3 + i);
        addFour(to + i, f32x4.mul(f0, r0), f32x4.mul(f1, r1), f32x4.mul(f2, r2), f32x4.mul(f3, r3));
        if (two) addFour(toSecond + i, f32x4.mul(g0, r0), f32x4.mul(g1, r1), f32x4.mul(g2, r2), f32x4.mul(g3, r3));
      }
    }
  }
}

/** Adds a + b + (c + d) to four floats in memory. */
// @ts-ignore: decorator
@inline
function addFour(to: usize, a: v128, b: v128, c: v128, d: v128): void {
  v128.store(to, f32x4.add(v128.load(to), f32x4.add(f32x4.add(a, b), f32x4.add(c, d))));
}

/**
 * r = factor · (sum − target), in place of sum; both are without the decoder's bias.
 *
 * @param sum, target [rows, d]
 * @returns Σ |sum − target|²
 */
export function residual(sum: usize, target: usize, rows: i32, d: i32, factor: f32): f64 {
  const bytes = (<usize>d) << 2;
  const scale = f32x4.splat(factor);
  let total: f64 = 0;
  for (let row = 0; row < rows; row++) {
    const a = sum + <usize>row * bytes;
    const x = target + <usize>row * bytes;
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

/** to = factor · from, for `bytes` bytes of float32, a multiple of 16. */
export function scale(to: usize, from: usize, bytes: usize, factor: f32): void {
  const factors = f32x4.splat(factor);
  for (let i: usize = 0; i < bytes; i += 16) v128.store(to + i, f32x4.mul(v128.load(from + i), factors));
}

/** to += from, for `bytes` bytes of float32, a multiple of 16. */
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
