import { at, Entries, indexAt, inside, Step, sumLanes } from './memory';
import { jumpRow, silent4, tanh4 } from './jump';
import { GATED, Gated, JUMP, Jump, numberOf, Relu, relu, relu4 } from './rules';

// Four tokens per pass, so that their rows come from the cache the second time. The last group of a feature is padded
// with its first token at weight zero.
let t0: usize = 0;
let t1: usize = 0;
let t2: usize = 0;
let t3: usize = 0;
/** Their dot products of W_dec[j] with r, and with the second residual. */
let d0: f32 = 0;
let d1: f32 = 0;
let d2: f32 = 0;
let d3: f32 = 0;
let a0: f32 = 0;
let a1: f32 = 0;
let a2: f32 = 0;
let a3: f32 = 0;
/** Weights of their rows in a sum. */
let c0: f32 = 0;
let c1: f32 = 0;
let c2: f32 = 0;
let c3: f32 = 0;

/**
 * Adds the gradients of a list's entries of feature j to gEnc, gDec and the sums: the residual dot products of its
 * entries, and from them ∂W_enc[:,j] = Σ_b dp xc_b and ∂W_dec[j] = Σ_b f r_b. Rows of frozen parameters, and dot
 * products that train nothing, are skipped.
 */
export function accumulate<R>(s: Step, list: Entries, j: usize): void {
  const rule = changetype<R>(0);
  const bytesIn = <usize>s.dIn << 2;
  const bytesOut = <usize>s.dOut << 2;
  const w = s.wDec + j * bytesOut;
  const bias = at(s.bias, j);
  const e = numberOf<R>(s.factor, j);
  const shift = numberOf<R>(s.shift, j);
  const trainsEnc = s.vEnc != 0;
  const trainsDec = s.vDec != 0;
  const second = rule.hasSecond() && list.second != 0 && (trainsEnc || s.vBias != 0 || s.pulls != 0);
  const p = list.p;
  const end = indexAt(list.start, j + 1);
  for (let k = indexAt(list.start, j); k < end; k += 4) {
    const last = end - k;
    t0 = indexAt(list.token, k);
    t1 = last > 1 ? indexAt(list.token, k + 1) : t0;
    t2 = last > 2 ? indexAt(list.token, k + 2) : t0;
    t3 = last > 3 ? indexAt(list.token, k + 3) : t0;
    if (second) twoDots(w, list.r, list.second, bytesOut);
    else dots(w, list.r, bytesOut);
    const p0 = at(p, k);
    const p1 = last > 1 ? at(p, k + 1) : 0;
    const p2 = last > 2 ? at(p, k + 2) : 0;
    const p3 = last > 3 ? at(p, k + 3) : 0;
    c0 = rule.gradient(list, t0, p0, bias, e, shift, d0, a0);
    c1 = last > 1 ? rule.gradient(list, t1, p1, bias, e, shift, d1, a1) : 0;
    c2 = last > 2 ? rule.gradient(list, t2, p2, bias, e, shift, d2, a2) : 0;
    c3 = last > 3 ? rule.gradient(list, t3, p3, bias, e, shift, d3, a3) : 0;
    rule.sum4(c0, c1, c2, c3);
    if (trainsEnc) weigh(s.gEnc, s.xc, bytesIn);
    if (!trainsDec) continue;
    c0 = relu(rule.magnitude(p0, bias, e, shift));
    c1 = last > 1 ? relu(rule.magnitude(p1, bias, e, shift)) : 0;
    c2 = last > 2 ? relu(rule.magnitude(p2, bias, e, shift)) : 0;
    c3 = last > 3 ? relu(rule.magnitude(p3, bias, e, shift)) : 0;
    weigh(s.gDec, list.r, bytesOut);
    if (!rule.hasSecond() || !list.unfrozen) continue;
    c0 = relu(p0 + bias);
    c1 = last > 1 ? relu(p1 + bias) : 0;
    c2 = last > 2 ? relu(p2 + bias) : 0;
    c3 = last > 3 ? relu(p3 + bias) : 0;
    weigh(s.gDec, list.second, bytesOut);
  }
}

/** The four dot products with r; those with the second residual are 0. */
// @ts-ignore: decorator
@inline
function dots(w: usize, r: usize, bytes: usize): void {
  const r0 = r + t0 * bytes;
  const r1 = r + t1 * bytes;
  const r2 = r + t2 * bytes;
  const r3 = r + t3 * bytes;
  let s0 = f32x4.splat(0);
  let s1 = f32x4.splat(0);
  let s2 = f32x4.splat(0);
  let s3 = f32x4.splat(0);
  for (let i: usize = 0; i < bytes; i += 16) {
    const row = v128.load(w + i);
    s0 = f32x4.add(s0, f32x4.mul(row, v128.load(r0 + i)));
    s1 = f32x4.add(s1, f32x4.mul(row, v128.load(r1 + i)));
    s2 = f32x4.add(s2, f32x4.mul(row, v128.load(r2 + i)));
    s3 = f32x4.add(s3, f32x4.mul(row, v128.load(r3 + i)));
  }
  d0 = sumLanes(s0);
  d1 = sumLanes(s1);
  d2 = sumLanes(s2);
  d3 = sumLanes(s3);
  a0 = 0;
  a1 = 0;
  a2 = 0;
  a3 = 0;
}

/** The four dot products with each residual; the row of W_dec is read once for both. */
// @ts-ignore: decorator
@inline
function twoDots(w: usize, r: usize, second: usize, bytes: usize): void {
  const r0 = r + t0 * bytes;
  const r1 = r + t1 * bytes;
  const r2 = r + t2 * bytes;
  const r3 = r + t3 * bytes;
  const q0 = second + t0 * bytes;
  const q1 = second + t1 * bytes;
  const q2 = second + t2 * bytes;
  const q3 = second + t3 * bytes;
  let s0 = f32x4.splat(0);
  let s1 = f32x4.splat(0);
  let s2 = f32x4.splat(0);
  let s3 = f32x4.splat(0);
  let u0 = f32x4.splat(0);
  let u1 = f32x4.splat(0);
  let u2 = f32x4.splat(0);
  let u3 = f32x4.splat(0);
  for (let i: usize = 0; i < bytes; i += 16) {
    const row = v128.load(w + i);
    s0 = f32x4.add(s0, f32x4.mul(row, v128.load(r0 + i)));
    s1 = f32x4.add(s1, f32x4.mul(row, v128.load(r1 + i)));
    s2 = f32x4.add(s2, f32x4.mul(row, v128.load(r2 + i)));
    s3 = f32x4.add(s3, f32x4.mul(row, v128.load(r3 + i)));
    u0 = f32x4.add(u0, f32x4.mul(row, v128.load(q0 + i)));
    u1 = f32x4.add(u1, f32x4.mul(row, v128.load(q1 + i)));
    u2 = f32x4.add(u2, f32x4.mul(row, v128.load(q2 + i)));
    u3 = f32x4.add(u3, f32x4.mul(row, v128.load(q3 + i)));
  }
  d0 = sumLanes(s0);
  d1 = sumLanes(s1);
  d2 = sumLanes(s2);
  d3 = sumLanes(s3);
  a0 = sumLanes(u0);
  a1 = sumLanes(u1);
  a2 = sumLanes(u2);
  a3 = sumLanes(u3);
}

/** to += Σ c_i rows[t_i] over the four tokens. */
// @ts-ignore: decorator
@inline
function weigh(to: usize, rows: usize, bytes: usize): void {
  const s0 = f32x4.splat(c0);
  const s1 = f32x4.splat(c1);
  const s2 = f32x4.splat(c2);
  const s3 = f32x4.splat(c3);
  const r0 = rows + t0 * bytes;
  const r1 = rows + t1 * bytes;
  const r2 = rows + t2 * bytes;
  const r3 = rows + t3 * bytes;
  for (let i: usize = 0; i < bytes; i += 16) {
    const sum = f32x4.add(
      f32x4.add(f32x4.mul(s0, v128.load(r0 + i)), f32x4.mul(s1, v128.load(r1 + i))),
      f32x4.add(f32x4.mul(s2, v128.load(r2 + i)), f32x4.mul(s3, v128.load(r3 + i))),
    );
    v128.store(to + i, f32x4.add(v128.load(to + i), sum));
  }
}

// The same for strips processed densely: elementwise passes over matrices [rows, Bp] of features from `first` on, which
// are consecutive in the tile. Columns from B on are written as zeros, so that products over complete rows ignore them.

/**
 * f, or g if `second`, of a strip, from its pre-activations (matrix 0) to matrix `to`. Adds it to totals[0] if it is
 * penalised; f is counted in totals[1] and marks `fired`.
 */
export function valueStrip(s: Step, list: Entries, first: i32, rows: i32, second: bool, to: i32): void {
  if (s.rule == GATED) valueStripBy<Gated>(s, list, first, rows, second, to);
  else if (s.rule == JUMP) valueStripBy<Jump>(s, list, first, rows, second, to);
  else valueStripBy<Relu>(s, list, first, rows, second, to);
}

function valueStripBy<R>(s: Step, list: Entries, first: i32, rows: i32, second: bool, to: i32): void {
  const rule = changetype<R>(0);
  const zero = f32x4.splat(0);
  const B = s.B;
  const Bp = s.Bp;
  const out = s.tile + ((<usize>to * <usize>rows * <usize>Bp) << 2);
  const penalised = second != (list.sumsF != 0);
  for (let row: usize = 0; row < <usize>rows; row++) {
    const j = <usize>first + row;
    const offset = (row * <usize>Bp) << 2;
    const bias = f32x4.splat(at(s.bias, j));
    const e = f32x4.splat(numberOf<R>(s.factor, j));
    const shift = f32x4.splat(numberOf<R>(s.shift, j));
    let sum = zero;
    let on = zero;
    let below = zero;
    for (let b = 0; b < Bp; b += 4) {
      const k = offset + (<usize>b << 2);
      const pre = v128.load(s.tile + k);
      const pi = f32x4.add(pre, bias);
      let value = rule.hasSilent() ? rule.magnitude4(pre, bias, e, shift) : relu4(pi);
      if (rule.hasSecond() && !second) {
        value = v128.andnot(relu4(rule.magnitude4(pre, bias, e, shift)), f32x4.le(pi, zero));
      }
      value = v128.and(value, inside(b, B));
      v128.store(out + k, value);
      on = i32x4.sub(on, f32x4.gt(value, zero));
      if (!rule.hasSilent()) sum = f32x4.add(sum, value);
      else {
        if (list.tanhScale != 0) sum = f32x4.add(sum, tanh4(list, value));
        below = f32x4.add(below, v128.and(silent4(pi, shift, e), inside(b, B)));
        if (list.counts) countTokens(list.counts + (<usize>b << 2), f32x4.gt(value, zero));
      }
    }
    if (rule.hasSilent()) store<f64>(list.totals, load<f64>(list.totals, 16) + <f64>sumLanes(below), 16);
    if (penalised) store<f64>(list.totals, load<f64>(list.totals) + <f64>sumLanes(sum));
    if (!second) count(on, list.fired + (j << 2), list.totals);
  }
}

/**
 * Turns the residual dot products of a strip into the factors of its gradients: p (matrix 0), W_dec·r (1) and W_dec
 * times the second residual (2) become f (1) and dp (2).
 *
 * @param sums [rows, 4] out: Σ_b dp, and the gradients of bias, b_mag and r_mag
 */
export function gradientStrip(s: Step, list: Entries, first: i32, rows: i32, sums: usize): void {
  for (let row = 0; row < rows; row++) {
    const out = sums + (<usize>row << 4);
    if (s.rule == GATED) gradientRow<Gated>(s, list, first, rows, row, out);
    else if (s.rule == JUMP) jumpRow(s, list, first, rows, row, out);
    else gradientRow<Relu>(s, list, first, rows, row, out);
  }
}

function gradientRow<R>(s: Step, list: Entries, first: i32, rows: i32, row: i32, sums: usize): void {
  const rule = changetype<R>(0);
  const zero = f32x4.splat(0);
  const j = <usize>(first + row);
  const matrix = (<usize>rows * <usize>s.Bp) << 2;
  const line = s.tile + ((<usize>row * <usize>s.Bp) << 2);
  const l1 = f32x4.splat(list.l1);
  const l1F = f32x4.splat(list.l1F);
  const bias = f32x4.splat(at(s.bias, j));
  const e = f32x4.splat(numberOf<R>(s.factor, j));
  const shift = f32x4.splat(numberOf<R>(s.shift, j));
  const B = s.B;
  let sumP = zero;
  let sumPi = zero;
  let sumMag = zero;
  let sumR = zero;
  for (let b = 0; b < s.Bp; b += 4) {
    const at = line + (<usize>b << 2);
    const pre = v128.load(at);
    const open = v128.and(f32x4.gt(f32x4.add(pre, bias), zero), inside(b, B));
    const m = rule.magnitude4(pre, bias, e, shift);
    const dMag = v128.and(f32x4.add(l1F, v128.load(at + matrix)), v128.and(open, f32x4.gt(m, zero)));
    let dp = dMag;
    if (rule.hasSecond()) {
      const dPi = v128.and(f32x4.add(l1, v128.load(at + 2 * matrix)), open);
      dp = f32x4.add(dPi, f32x4.mul(e, dMag));
      sumPi = f32x4.add(sumPi, dPi);
      sumMag = f32x4.add(sumMag, dMag);
      sumR = f32x4.add(sumR, f32x4.mul(dMag, f32x4.mul(e, pre)));
    }
    sumP = f32x4.add(sumP, dp);
    v128.store(at + matrix, v128.and(relu4(m), open));
    v128.store(at + 2 * matrix, dp);
  }
  const total = sumLanes(sumP);
  store<f32>(sums, total);
  store<f32>(sums, rule.hasSecond() ? sumLanes(sumPi) : total, 4);
  store<f32>(sums, sumLanes(sumMag), 8);
  store<f32>(sums, sumLanes(sumR), 12);
}

/** Adds a row's number of f > 0, in integer lanes, to totals[1], and marks the feature if there are any. */
// @ts-ignore: decorator
@inline
function count(on: v128, fired: usize, totals: usize): void {
  const number =
    i32x4.extract_lane(on, 0) + i32x4.extract_lane(on, 1) + i32x4.extract_lane(on, 2) + i32x4.extract_lane(on, 3);
  store<f64>(totals + 8, load<f64>(totals + 8) + <f64>number);
  if (number > 0) store<u32>(fired, 1);
}

/** Adds true lanes to the counts of four tokens. */
// @ts-ignore: decorator
@inline
function countTokens(counts: usize, on: v128): void {
  v128.store(counts, f32x4.add(v128.load(counts), v128.and(on, f32x4.splat(1))));
}
