import { magnitude4, relu4 } from './gate';
import { at, sumLanes } from './lanes';

// Elementwise passes over strips [rows, Bp] of pre-activations. Columns from B on are written as zeros, so that
// products over whole rows do not see them; `inside` masks them.

/**
 * f or g = ReLU(π_gate) of a strip of a gated SAE, from its pre-activations.
 *
 * @param p, out [rows, Bp]
 * @param auxiliary true for g; f is counted in totals[1] and marks `fired`
 * @param penalised whether its sum is added to totals[0]
 */
export function gatedStrip(
  p: usize,
  rows: i32,
  B: i32,
  Bp: i32,
  bGate: usize,
  bMag: usize,
  expRMag: usize,
  auxiliary: bool,
  penalised: bool,
  out: usize,
  fired: usize,
  totals: usize,
): void {
  const zero = f32x4.splat(0);
  for (let row: usize = 0; row < <usize>rows; row++) {
    const offset = (row * <usize>Bp) << 2;
    const gate = f32x4.splat(at(bGate, row));
    const bias = f32x4.splat(at(bMag, row));
    const e = f32x4.splat(at(expRMag, row));
    let sum = zero;
    let on = zero;
    for (let b = 0; b < Bp; b += 4) {
      const k = offset + (<usize>b << 2);
      const pre = v128.load(p + k);
      const pi = f32x4.add(pre, gate);
      let value = relu4(pi);
      if (!auxiliary) value = v128.andnot(relu4(magnitude4(pre, e, bias)), f32x4.le(pi, zero));
      value = v128.and(value, inside(b, B));
      v128.store(out + k, value);
      sum = f32x4.add(sum, value);
      on = i32x4.sub(on, f32x4.gt(value, zero));
    }
    if (penalised) store<f64>(totals, load<f64>(totals) + <f64>sumLanes(sum));
    if (!auxiliary) count(on, fired + (row << 2), totals);
  }
}

/** f = ReLU(p + b_enc) of a strip of a standard SAE: summed, counted, and marked in `fired`. */
export function standardStrip(
  p: usize,
  rows: i32,
  B: i32,
  Bp: i32,
  bEnc: usize,
  out: usize,
  fired: usize,
  totals: usize,
): void {
  const zero = f32x4.splat(0);
  for (let row: usize = 0; row < <usize>rows; row++) {
    const offset = (row * <usize>Bp) << 2;
    const bias = f32x4.splat(at(bEnc, row));
    let sum = zero;
    let on = zero;
    for (let b = 0; b < Bp; b += 4) {
      const k = offset + (<usize>b << 2);
      const value = v128.and(relu4(f32x4.add(v128.load(p + k), bias)), inside(b, B));
      v128.store(out + k, value);
      sum = f32x4.add(sum, value);
      on = i32x4.sub(on, f32x4.gt(value, zero));
    }
    store<f64>(totals, load<f64>(totals) + <f64>sumLanes(sum));
    count(on, fired + (row << 2), totals);
  }
}

/**
 * From the residual dots of a strip of a gated SAE to what its gradients are products of.
 *
 * @param p [rows, Bp]
 * @param df [rows, Bp] W_dec·r; becomes f
 * @param dg [rows, Bp] W_dec·r_aux; becomes dp
 * @param l1, l1F λ / B on g and on f, one of them 0
 * @param sums [rows, 4] out: Σ_b dp, ∂b_gate, ∂b_mag, ∂r_mag
 */
export function gatedGradientStrip(
  p: usize,
  df: usize,
  dg: usize,
  rows: i32,
  B: i32,
  Bp: i32,
  bGate: usize,
  bMag: usize,
  expRMag: usize,
  l1: f32,
  l1F: f32,
  sums: usize,
): void {
  const zero = f32x4.splat(0);
  const lambda = f32x4.splat(l1);
  const lambdaF = f32x4.splat(l1F);
  for (let row: usize = 0; row < <usize>rows; row++) {
    const offset = (row * <usize>Bp) << 2;
    const gate = f32x4.splat(at(bGate, row));
    const bias = f32x4.splat(at(bMag, row));
    const e = f32x4.splat(at(expRMag, row));
    let sumP = zero;
    let sumGate = zero;
    let sumMag = zero;
    let sumR = zero;
    for (let b = 0; b < Bp; b += 4) {
      const k = offset + (<usize>b << 2);
      const pre = v128.load(p + k);
      const open = v128.and(f32x4.gt(f32x4.add(pre, gate), zero), inside(b, B));
      const m = magnitude4(pre, e, bias);
      const dPi = v128.and(f32x4.add(lambda, v128.load(dg + k)), open);
      const dMag = v128.and(f32x4.add(lambdaF, v128.load(df + k)), v128.and(open, f32x4.gt(m, zero)));
      const dp = f32x4.add(dPi, f32x4.mul(e, dMag));
      sumP = f32x4.add(sumP, dp);
      sumGate = f32x4.add(sumGate, dPi);
      sumMag = f32x4.add(sumMag, dMag);
      sumR = f32x4.add(sumR, f32x4.mul(dMag, f32x4.mul(e, pre)));
      v128.store(df + k, v128.and(relu4(m), open));
      v128.store(dg + k, dp);
    }
    const out = sums + (row << 4);
    store<f32>(out, sumLanes(sumP));
    store<f32>(out, sumLanes(sumGate), 4);
    store<f32>(out, sumLanes(sumMag), 8);
    store<f32>(out, sumLanes(sumR), 12);
  }
}

/** The same for a standard SAE: p becomes f, df becomes dp. */
export function standardGradientStrip(
  p: usize,
  df: usize,
  rows: i32,
  B: i32,
  Bp: i32,
  bEnc: usize,
  l1: f32,
  sums: usize,
): void {
  const zero = f32x4.splat(0);
  const lambda = f32x4.splat(l1);
  for (let row: usize = 0; row < <usize>rows; row++) {
    const offset = (row * <usize>Bp) << 2;
    const bias = f32x4.splat(at(bEnc, row));
    let sum = zero;
    for (let b = 0; b < Bp; b += 4) {
      const k = offset + (<usize>b << 2);
      const f = v128.and(relu4(f32x4.add(v128.load(p + k), bias)), inside(b, B));
      const dp = v128.and(f32x4.add(lambda, v128.load(df + k)), f32x4.gt(f, zero));
      sum = f32x4.add(sum, dp);
      v128.store(p + k, f);
      v128.store(df + k, dp);
    }
    const out = sums + (row << 4);
    store<f32>(out, sumLanes(sum));
    store<f32>(out, sumLanes(sum), 4);
    store<f32>(out, 0, 8);
    store<f32>(out, 0, 12);
  }
}

/** Lanes of columns b to b + 3 that belong to the batch. */
// @ts-ignore: decorator
@inline
function inside(b: i32, B: i32): v128 {
  return i32x4.lt_s(i32x4.add(i32x4.splat(b), i32x4(0, 1, 2, 3)), i32x4.splat(B));
}

/** Adds a row's number of f > 0, in integer lanes, to totals[1], and marks the feature if there is any. */
// @ts-ignore: decorator
@inline
function count(on: v128, fired: usize, totals: usize): void {
  const number =
    i32x4.extract_lane(on, 0) + i32x4.extract_lane(on, 1) + i32x4.extract_lane(on, 2) + i32x4.extract_lane(on, 3);
  store<f64>(totals + 8, load<f64>(totals + 8) + <f64>number);
  if (number > 0) store<u32>(fired, 1);
}
