import { adam1, adam4, decay1, decayRow } from './adam';
import { accumulateGated, accumulateStandard, sumBias, sumBMag, sumP, sumRMag } from './gradient';
import { at, indexAt, sumLanes } from './lanes';
import { StepBlock } from './step-block';

/** Σ of what was written since it was last asked for: finite only if all of it is. */
let written: f64 = 0;

/** That sum; begins the next one. */
export function takeWritten(): f64 {
  const sum = written;
  written = 0;
  return sum;
}

/**
 * Gradient, tangent projection, Adam and norm of features [first, last) of a gated SAE, each row in one visit. With
 * β1 = 0 a feature without entries does not move, and is left until it is next active. A parameter that is not trained
 * keeps its bits, its row its norm.
 */
export function updateGated(block: usize, first: i32, last: i32): void {
  const s = changetype<StepBlock>(block);
  for (let j = <usize>first; j < <usize>last; j++) {
    if (s.beta1 == 0 && indexAt(s.entryStart, j) == indexAt(s.entryStart, j + 1)) continue;
    accumulateGated(s, j);
    applyRow(s, j, s.gEnc, s.gDec, sumP, true, sumBias, sumBMag, sumRMag);
  }
}

/** The same for a standard SAE. */
export function updateStandard(block: usize, first: i32, last: i32): void {
  const s = changetype<StepBlock>(block);
  for (let j = <usize>first; j < <usize>last; j++) {
    if (s.beta1 == 0 && indexAt(s.entryStart, j) == indexAt(s.entryStart, j + 1)) continue;
    accumulateStandard(s, j);
    applyRow(s, j, s.gEnc, s.gDec, sumP, false, sumBias, 0, 0);
  }
}

/**
 * The same for features [first, first + rows) whose gradients are given, as dense passes compute them.
 *
 * @param gEnc, gDec [rows, d]
 * @param sums [rows, 4]: Σ_b dp, ∂bias, ∂b_mag, ∂r_mag
 */
export function applyStrip(
  block: usize,
  gated: bool,
  first: i32,
  rows: i32,
  gEnc: usize,
  gDec: usize,
  sums: usize,
): void {
  const s = changetype<StepBlock>(block);
  const bytes = (<usize>s.d) << 2;
  for (let row: usize = 0; row < <usize>rows; row++) {
    const t = row << 2;
    const g = gDec + row * bytes;
    applyRow(
      s,
      <usize>first + row,
      gEnc + row * bytes,
      g,
      at(sums, t),
      gated,
      at(sums, t + 1),
      at(sums, t + 2),
      at(sums, t + 3),
    );
  }
}

function applyRow(
  s: StepBlock,
  j: usize,
  gEnc: usize,
  gDec: usize,
  dp: f32,
  gated: bool,
  dBias: f32,
  dBMag: f32,
  dRMag: f32,
): void {
  catchUp(s, j, s.step - 1, gated);
  store<u32>(s.updated + (j << 2), s.step);
  const bytes = (<usize>s.d) << 2;
  const row = j * bytes;

  const momentum = s.beta1 > 0;
  const beta1 = f32x4.splat(s.beta1);
  const fresh1 = f32x4.splat(s.fresh1);
  const correction1 = f32x4.splat(s.correction1);
  const beta2 = f32x4.splat(s.beta2);
  const fresh2 = f32x4.splat(s.fresh2);
  const correction2 = f32x4.splat(s.correction2);
  const epsilon = f32x4.splat(s.epsilon);
  const lr = f32x4.splat(s.lr);

  const w = s.wEnc + row;
  const m = s.mEnc + row;
  const v = s.vEnc + row;
  const pull = s.pull;
  const weight = f32x4.splat(dp);
  // A NaN, or infinities of whatever signs, never add up to a finite number.
  let sum = f32x4.splat(0);
  if (s.vEnc) {
    for (let i: usize = 0; i < bytes; i += 16) {
      const value = v128.load(w + i);
      v128.store(pull + i, f32x4.add(v128.load(pull + i), f32x4.mul(weight, value)));
      const g = v128.load(gEnc + i);
      const change = adam4(
        g,
        m + i,
        v + i,
        momentum,
        beta1,
        fresh1,
        correction1,
        beta2,
        fresh2,
        correction2,
        epsilon,
        lr,
      );
      const moved = f32x4.sub(value, change);
      v128.store(w + i, moved);
      sum = f32x4.add(sum, f32x4.add(moved, v128.load(v + i)));
    }
  } else if (s.pulls) {
    for (let i: usize = 0; i < bytes; i += 16) {
      v128.store(pull + i, f32x4.add(v128.load(pull + i), f32x4.mul(weight, v128.load(w + i))));
    }
  }

  if (s.vDec) {
    const wDec = s.wDec + row;
    const mDec = s.mDec + row;
    const vDec = s.vDec + row;
    let along = f32x4.splat(0);
    for (let i: usize = 0; i < bytes; i += 16) {
      along = f32x4.add(along, f32x4.mul(v128.load(gDec + i), v128.load(wDec + i)));
    }
    const radial = f32x4.splat(sumLanes(along));
    let squares = f32x4.splat(0);
    for (let i: usize = 0; i < bytes; i += 16) {
      const value = v128.load(wDec + i);
      const g = f32x4.sub(v128.load(gDec + i), f32x4.mul(radial, value));
      const change = adam4(
        g,
        mDec + i,
        vDec + i,
        momentum,
        beta1,
        fresh1,
        correction1,
        beta2,
        fresh2,
        correction2,
        epsilon,
        lr,
      );
      const moved = f32x4.sub(value, change);
      squares = f32x4.add(squares, f32x4.mul(moved, moved));
      v128.store(wDec + i, moved);
      sum = f32x4.add(sum, v128.load(vDec + i));
    }
    const square = sumLanes(squares);
    const norm: f32 = 1 / Mathf.sqrt(square);
    written += <f64>square + <f64>norm;
    const inverse = f32x4.splat(norm);
    for (let i: usize = 0; i < bytes; i += 16) v128.store(wDec + i, f32x4.mul(v128.load(wDec + i), inverse));
  }

  written += <f64>sumLanes(sum);

  const k = j << 2;
  if (s.vBias) update1(s, s.bias + k, dBias, s.mBias + k, s.vBias + k);
  if (gated) {
    if (s.vBMag) update1(s, s.bMag + k, dBMag, s.mBMag + k, s.vBMag + k);
    if (s.vRMag) update1(s, s.rMag + k, dRMag, s.mRMag + k, s.vRMag + k);
  }
}

/** Adam on one number. */
// @ts-ignore: decorator
@inline
function update1(s: StepBlock, w: usize, g: f32, m: usize, v: usize): void {
  adam1(s, w, g, m, v);
  written += <f64>load<f32>(w) + <f64>load<f32>(v);
}

/** Brings second moments of features [first, last) to the block's step. */
export function decayMoments(block: usize, gated: bool, first: i32, last: i32): void {
  const s = changetype<StepBlock>(block);
  for (let j = <usize>first; j < <usize>last; j++) {
    catchUp(s, j, s.step, gated);
    store<u32>(s.updated + (j << 2), s.step);
  }
}

/** Decays that a feature missed up to and with step `until`. */
function catchUp(s: StepBlock, j: usize, until: i32, gated: bool): void {
  const missed = until - <i32>indexAt(s.updated, j);
  if (missed <= 0) return;
  const bytes = (<usize>s.d) << 2;
  if (s.vEnc) decayRow(s.vEnc + j * bytes, bytes, s.beta2, missed);
  if (s.vDec) decayRow(s.vDec + j * bytes, bytes, s.beta2, missed);
  const k = j << 2;
  if (s.vBias) decay1(s.vBias + k, s.beta2, missed);
  if (gated) {
    if (s.vBMag) decay1(s.vBMag + k, s.beta2, missed);
    if (s.vRMag) decay1(s.vRMag + k, s.beta2, missed);
  }
}
