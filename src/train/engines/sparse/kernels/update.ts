import { accumulate } from './gradient';
import { at, Entries, indexAt, Step, sumLanes } from './memory';
import { clearSums, GATED, Gated, JUMP, Jump, Relu, relu, storeSums } from './rules';

/** Σ of everything written since the last query: finite only if all of it is. */
let written: f64 = 0;

/** Returns that sum and resets it. */
export function takeWritten(): f64 {
  const sum = written;
  written = 0;
  return sum;
}

/** Σ of the squares of measured gradients since the last query. */
let squared: f64 = 0;

/** Returns that sum and resets it. */
export function takeSquares(): f64 {
  const sum = squared;
  squared = 0;
  return sum;
}

/**
 * Gradient, tangent projection, Adam and renormalisation for features [first, last), each row in one visit. With β1 = 0
 * a feature without entries does not move, and is skipped until it is next active. Frozen parameters keep their bits,
 * and their rows' norms. While gradients are measured, nothing moves: their squares and pull are accumulated.
 *
 * @param more another list of entries that trains the same parameters, or 0
 */
export function update(s: Step, list: Entries, more: usize, first: i32, last: i32): void {
  const other = changetype<Entries>(more);
  for (let j = <usize>first; j < <usize>last; j++) {
    if (s.beta1 == 0 && isEmpty(list, j) && (!more || isEmpty(other, j))) continue;
    memory.fill(s.gEnc, 0, <usize>s.dIn << 2);
    memory.fill(s.gDec, 0, <usize>s.dOut << 2);
    clearSums();
    if (s.rule == GATED) accumulate<Gated>(s, list, j);
    else if (s.rule == JUMP) accumulate<Jump>(s, list, j);
    else accumulate<Relu>(s, list, j);
    if (more) accumulate<Relu>(s, other, j);
    storeSums(s.sums);
    applyRow(s, j, s.gEnc, s.gDec, s.sums);
  }
}

// @ts-ignore: decorator
@inline
function isEmpty(list: Entries, j: usize): bool {
  return indexAt(list.start, j) == indexAt(list.start, j + 1);
}

/**
 * The same for features [first, first + rows) with given gradients, as computed by dense passes.
 *
 * @param gEnc, gDec [rows, dIn] and [rows, dOut]
 * @param sums [rows, 4] from gradientStrip
 */
export function applyStrip(s: Step, first: i32, rows: i32, gEnc: usize, gDec: usize, sums: usize): void {
  const bytesIn = (<usize>s.dIn) << 2;
  const bytesOut = (<usize>s.dOut) << 2;
  for (let row: usize = 0; row < <usize>rows; row++) {
    applyRow(s, <usize>first + row, gEnc + row * bytesIn, gDec + row * bytesOut, sums + (row << 4));
  }
}

function applyRow(s: Step, j: usize, gEnc: usize, gDec: usize, sums: usize): void {
  if (s.measures) {
    measureRow(s, j, gEnc, gDec, sums);
    return;
  }
  catchUp(s, j, s.step - 1);
  store<u32>(s.updated + (j << 2), s.step);
  if (s.vEnc) moveRow(s, j, gEnc, load<f32>(sums), false);
  else if (s.pulls) pullRow(s, j, load<f32>(sums));
  if (s.vDec) {
    moveRow(s, j, gDec, alongRow(s, j, gDec), true);
    normaliseRow(s, j);
  }
  const k = j << 2;
  if (s.vBias) move(s, s.bias + k, load<f32>(sums, 4), s.mBias + k, s.vBias + k);
  if (s.vShift) {
    move(s, s.shift + k, load<f32>(sums, 8), s.mShift + k, s.vShift + k);
    // A negative threshold would let negative numbers through.
    if (s.rule == JUMP) store<f32>(s.shift + k, relu(load<f32>(s.shift + k)));
  }
  if (s.vRMag) move(s, s.rMag + k, load<f32>(sums, 12), s.mRMag + k, s.vRMag + k);
}

/** Accumulates the squares of a feature's gradients, with W_dec's tangent to its row, and its part of pull. */
function measureRow(s: Step, j: usize, gEnc: usize, gDec: usize, sums: usize): void {
  if (s.vEnc || s.pulls) pullRow(s, j, load<f32>(sums));
  if (s.vEnc) squared += squares(gEnc, <usize>s.dIn << 2);
  if (s.vDec) {
    const bytes = <usize>s.dOut << 2;
    takeAway(gDec, s.wDec + j * bytes, bytes, alongRow(s, j, gDec));
    squared += squares(gDec, bytes);
  }
  for (let k: usize = 4; k < 16; k += 4) {
    const trained = k == 4 ? s.vBias : k == 8 ? s.vShift : s.vRMag;
    const g = <f64>load<f32>(sums + k);
    if (trained) squared += g * g;
  }
}

function squares(row: usize, bytes: usize): f64 {
  let sum = f32x4.splat(0);
  for (let i: usize = 0; i < bytes; i += 16) {
    const g = v128.load(row + i);
    sum = f32x4.add(sum, f32x4.mul(g, g));
  }
  return <f64>sumLanes(sum);
}

/** row −= weight · other */
function takeAway(row: usize, other: usize, bytes: usize, weight: f32): void {
  const factor = f32x4.splat(weight);
  for (let i: usize = 0; i < bytes; i += 16) {
    v128.store(row + i, f32x4.sub(v128.load(row + i), f32x4.mul(factor, v128.load(other + i))));
  }
}

/** |row|² of the last moved row of W_dec. */
let rowSquare: f32 = 0;

/**
 * Adam (Kingma and Ba 2015, algorithm 1) on the row of feature j of W_enc, or of W_dec: then the gradient's component
 * along the row, `weight` times the row, is subtracted first. For W_enc, `weight` times the row is added to pull.
 */
// @ts-ignore: decorator
@inline
function moveRow(s: Step, j: usize, gradient: usize, weight: f32, decoder: bool): void {
  const bytes = (<usize>(decoder ? s.dOut : s.dIn)) << 2;
  const row = j * bytes;
  const w = (decoder ? s.wDec : s.wEnc) + row;
  const m = (decoder ? s.mDec : s.mEnc) + row;
  const v = (decoder ? s.vDec : s.vEnc) + row;
  const pull = s.pull;
  const momentum = s.beta1 > 0;
  const beta1 = f32x4.splat(s.beta1);
  const fresh1 = f32x4.splat(s.fresh1);
  const correction1 = f32x4.splat(s.correction1);
  const beta2 = f32x4.splat(s.beta2);
  const fresh2 = f32x4.splat(s.fresh2);
  const correction2 = f32x4.splat(s.correction2);
  const epsilon = f32x4.splat(s.epsilon);
  const lr = f32x4.splat(s.lr);
  const factor = f32x4.splat(weight);
  const clip = f32x4.splat(s.clip);
  // NaN, or infinities of any signs, never sum to a finite number.
  let sum = f32x4.splat(0);
  let squares = f32x4.splat(0);
  for (let i: usize = 0; i < bytes; i += 16) {
    const value = v128.load(w + i);
    const share = f32x4.mul(factor, value);
    let g = v128.load(gradient + i);
    if (decoder) g = f32x4.sub(g, share);
    else v128.store(pull + i, f32x4.add(v128.load(pull + i), share));
    g = f32x4.mul(g, clip);
    const v1 = f32x4.add(f32x4.mul(v128.load(v + i), beta2), f32x4.mul(f32x4.mul(g, g), fresh2));
    v128.store(v + i, v1);
    if (momentum) {
      const m1 = f32x4.add(f32x4.mul(v128.load(m + i), beta1), f32x4.mul(g, fresh1));
      v128.store(m + i, m1);
      g = f32x4.mul(m1, correction1);
    }
    const denominator = f32x4.add(f32x4.sqrt(f32x4.mul(v1, correction2)), epsilon);
    const moved = f32x4.sub(value, f32x4.mul(lr, f32x4.div(g, denominator)));
    v128.store(w + i, moved);
    sum = f32x4.add(sum, f32x4.add(moved, v1));
    if (decoder) squares = f32x4.add(squares, f32x4.mul(moved, moved));
  }
  written += <f64>sumLanes(sum);
  if (decoder) rowSquare = sumLanes(squares);
}

/** pull += weight times the row of W_enc, if that row is frozen. */
function pullRow(s: Step, j: usize, weight: f32): void {
  const bytes = (<usize>s.dIn) << 2;
  const w = s.wEnc + j * bytes;
  const factor = f32x4.splat(weight);
  for (let i: usize = 0; i < bytes; i += 16) {
    v128.store(s.pull + i, f32x4.add(v128.load(s.pull + i), f32x4.mul(factor, v128.load(w + i))));
  }
}

/** The gradient's dot product with the (unit) row of W_dec. */
// @ts-ignore: decorator
@inline
function alongRow(s: Step, j: usize, gradient: usize): f32 {
  const bytes = (<usize>s.dOut) << 2;
  const w = s.wDec + j * bytes;
  let along = f32x4.splat(0);
  for (let i: usize = 0; i < bytes; i += 16) {
    along = f32x4.add(along, f32x4.mul(v128.load(gradient + i), v128.load(w + i)));
  }
  return sumLanes(along);
}

/** Renormalises the row of W_dec just moved by moveRow. */
// @ts-ignore: decorator
@inline
function normaliseRow(s: Step, j: usize): void {
  const bytes = (<usize>s.dOut) << 2;
  const w = s.wDec + j * bytes;
  const norm: f32 = 1 / Mathf.sqrt(rowSquare);
  written += <f64>rowSquare + <f64>norm;
  const inverse = f32x4.splat(norm);
  for (let i: usize = 0; i < bytes; i += 16) v128.store(w + i, f32x4.mul(v128.load(w + i), inverse));
}

/** Adam for a single number. */
// @ts-ignore: decorator
@inline
function move(s: Step, w: usize, gradient: f32, m: usize, v: usize): void {
  const g = gradient * s.clip;
  const v1: f32 = load<f32>(v) * s.beta2 + g * g * s.fresh2;
  store<f32>(v, v1);
  let numerator = g;
  if (s.beta1 > 0) {
    const m1: f32 = load<f32>(m) * s.beta1 + g * s.fresh1;
    store<f32>(m, m1);
    numerator = m1 * s.correction1;
  }
  const moved: f32 = load<f32>(w) - s.lr * (numerator / (Mathf.sqrt(v1 * s.correction2) + s.epsilon));
  store<f32>(w, moved);
  written += <f64>moved + <f64>v1;
}

/** Brings second moments of features [first, last) up to the block's step. */
export function decayMoments(s: Step, first: i32, last: i32): void {
  for (let j = <usize>first; j < <usize>last; j++) {
    catchUp(s, j, s.step);
    store<u32>(s.updated + (j << 2), s.step);
  }
}

/** Number of decays that a feature missed up to and including step `until`. */
function catchUp(s: Step, j: usize, until: i32): void {
  const missed = until - <i32>indexAt(s.updated, j);
  if (missed <= 0) return;
  const bytesIn = (<usize>s.dIn) << 2;
  const bytesOut = (<usize>s.dOut) << 2;
  if (s.vEnc) decayRow(s.vEnc + j * bytesIn, bytesIn, s.beta2, missed);
  if (s.vDec) decayRow(s.vDec + j * bytesOut, bytesOut, s.beta2, missed);
  const k = j << 2;
  if (s.vBias) decay(s.vBias + k, s.beta2, missed);
  if (s.vShift) decay(s.vShift + k, s.beta2, missed);
  if (s.vRMag) decay(s.vRMag + k, s.beta2, missed);
}

/**
 * v ← β2^missed v for steps without gradient. Multiplied once per missed step, not by a power: this is bit-identical to
 * Adam on every row in every step, and independent of when rows are brought up to date.
 */
// @ts-ignore: decorator
@inline
function decayRow(v: usize, bytes: usize, beta2: f32, missed: i32): void {
  const beta = f32x4.splat(beta2);
  for (let i: usize = 0; i < bytes; i += 64) {
    let a = v128.load(v + i);
    let b = v128.load(v + i, 16);
    let c = v128.load(v + i, 32);
    let e = v128.load(v + i, 48);
    // Once it has decayed to zero, it stays zero.
    for (let k = 0; k < missed && v128.any_true(v128.or(v128.or(a, b), v128.or(c, e))); k++) {
      a = f32x4.mul(a, beta);
      b = f32x4.mul(b, beta);
      c = f32x4.mul(c, beta);
      e = f32x4.mul(e, beta);
    }
    v128.store(v + i, a);
    v128.store(v + i, b, 16);
    v128.store(v + i, c, 32);
    v128.store(v + i, e, 48);
  }
}

/** The same for a single number. */
// @ts-ignore: decorator
@inline
function decay(v: usize, beta2: f32, missed: i32): void {
  let value = load<f32>(v);
  for (let k = 0; k < missed && value != 0; k++) value *= beta2;
  store<f32>(v, value);
}
