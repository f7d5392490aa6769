import { magnitude, relu } from './gate';
import { at, indexAt, sumLanes } from './lanes';
import { StepBlock } from './step-block';

/** Sums over the entries of the feature accumulated last: Σ_b dp, ∂bias, ∂b_mag, ∂r_mag. */
export let sumP: f32 = 0;
export let sumBias: f32 = 0;
export let sumBMag: f32 = 0;
export let sumRMag: f32 = 0;

/**
 * Gradients of one feature of a gated SAE into s.gEnc and s.gDec: the residual dots of its entries, and from them
 * ∂W_enc[:,j] = Σ_b dp (x_b − b_dec) and ∂W_dec[j] = Σ_b f r_b; four tokens a pass, so that their rows are read from
 * the cache the second time. The rows of parameters that are not trained, and dots that train none, are left out.
 */
export function accumulateGated(s: StepBlock, j: usize): void {
  const bytes = <usize>s.d << 2;
  memory.fill(s.gEnc, 0, bytes);
  memory.fill(s.gDec, 0, bytes);
  sumP = 0;
  sumBias = 0;
  sumBMag = 0;
  sumRMag = 0;
  const w = s.wDec + j * bytes;
  const bias = at(s.bias, j);
  const bMag = at(s.bMag, j);
  const e = at(s.expRMag, j);
  // Fields are read once: in the loops below the compiler could not know that they stay the same.
  const r = s.r;
  const rAux = s.rAux;
  const trainsEnc = s.vEnc != 0;
  const trainsDec = s.vDec != 0;
  const auxiliary = rAux != 0 && (trainsEnc || s.vBias != 0 || s.pulls != 0);
  const end = indexAt(s.entryStart, j + 1);
  for (let k = indexAt(s.entryStart, j); k < end; k += 4) {
    // The last group repeats its first token with weight zero.
    const last = end - k;
    const o0 = indexAt(s.token, k) * bytes;
    const o1 = last > 1 ? indexAt(s.token, k + 1) * bytes : o0;
    const o2 = last > 2 ? indexAt(s.token, k + 2) * bytes : o0;
    const o3 = last > 3 ? indexAt(s.token, k + 3) * bytes : o0;
    let d0 = f32x4.splat(0);
    let d1 = f32x4.splat(0);
    let d2 = f32x4.splat(0);
    let d3 = f32x4.splat(0);
    let a0 = f32x4.splat(0);
    let a1 = f32x4.splat(0);
    let a2 = f32x4.splat(0);
    let a3 = f32x4.splat(0);
    const r0 = r + o0;
    const r1 = r + o1;
    const r2 = r + o2;
    const r3 = r + o3;
    if (auxiliary) {
      const q0 = rAux + o0;
      const q1 = rAux + o1;
      const q2 = rAux + o2;
      const q3 = rAux + o3;
      for (let i: usize = 0; i < bytes; i += 16) {
        const row = v128.load(w + i);
        d0 = f32x4.add(d0, f32x4.mul(row, v128.load(r0 + i)));
        d1 = f32x4.add(d1, f32x4.mul(row, v128.load(r1 + i)));
        d2 = f32x4.add(d2, f32x4.mul(row, v128.load(r2 + i)));
        d3 = f32x4.add(d3, f32x4.mul(row, v128.load(r3 + i)));
        a0 = f32x4.add(a0, f32x4.mul(row, v128.load(q0 + i)));
        a1 = f32x4.add(a1, f32x4.mul(row, v128.load(q1 + i)));
        a2 = f32x4.add(a2, f32x4.mul(row, v128.load(q2 + i)));
        a3 = f32x4.add(a3, f32x4.mul(row, v128.load(q3 + i)));
      }
    } else {
      for (let i: usize = 0; i < bytes; i += 16) {
        const row = v128.load(w + i);
        d0 = f32x4.add(d0, f32x4.mul(row, v128.load(r0 + i)));
        d1 = f32x4.add(d1, f32x4.mul(row, v128.load(r1 + i)));
        d2 = f32x4.add(d2, f32x4.mul(row, v128.load(r2 + i)));
        d3 = f32x4.add(d3, f32x4.mul(row, v128.load(r3 + i)));
      }
    }
    const p0 = entry(s, k, bias, bMag, e, sumLanes(d0), sumLanes(a0));
    const p1 = last > 1 ? entry(s, k + 1, bias, bMag, e, sumLanes(d1), sumLanes(a1)) : 0;
    const p2 = last > 2 ? entry(s, k + 2, bias, bMag, e, sumLanes(d2), sumLanes(a2)) : 0;
    const p3 = last > 3 ? entry(s, k + 3, bias, bMag, e, sumLanes(d3), sumLanes(a3)) : 0;
    if (trainsEnc) weighted(s.gEnc, s.xc, o0, o1, o2, o3, p0, p1, p2, p3, bytes);
    if (!trainsDec) continue;
    const f0 = value(s, k, bMag, e);
    const f1 = last > 1 ? value(s, k + 1, bMag, e) : 0;
    const f2 = last > 2 ? value(s, k + 2, bMag, e) : 0;
    const f3 = last > 3 ? value(s, k + 3, bMag, e) : 0;
    weighted(s.gDec, r, o0, o1, o2, o3, f0, f1, f2, f3, bytes);
    if (!s.unfrozen) continue;
    const g0 = relu(at(s.p, k) + bias);
    const g1 = last > 1 ? relu(at(s.p, k + 1) + bias) : 0;
    const g2 = last > 2 ? relu(at(s.p, k + 2) + bias) : 0;
    const g3 = last > 3 ? relu(at(s.p, k + 3) + bias) : 0;
    weighted(s.gDec, rAux, o0, o1, o2, o3, g0, g1, g2, g3, bytes);
  }
}

/** dp of one entry from its residual dots; adds to the sums. */
// @ts-ignore: decorator
@inline
function entry(s: StepBlock, k: usize, bias: f32, bMag: f32, e: f32, df: f32, dg: f32): f32 {
  const p = at(s.p, k);
  const dPi: f32 = s.l1 + dg;
  const dMag: f32 = magnitude(p, e, bMag) > 0 ? s.l1F + df : 0;
  const dp: f32 = dPi + e * dMag;
  sumP += dp;
  sumBias += dPi;
  sumBMag += dMag;
  sumRMag += dMag * (e * p);
  return dp;
}

/** f of one entry, whose gate is open. */
// @ts-ignore: decorator
@inline
function value(s: StepBlock, k: usize, bMag: f32, e: f32): f32 {
  return relu(magnitude(at(s.p, k), e, bMag));
}

/** to += Σ c_i rows[o_i] for four tokens at offsets o_i. */
// @ts-ignore: decorator
@inline
function weighted(
  to: usize,
  rows: usize,
  o0: usize,
  o1: usize,
  o2: usize,
  o3: usize,
  c0: f32,
  c1: f32,
  c2: f32,
  c3: f32,
  bytes: usize,
): void {
  const s0 = f32x4.splat(c0);
  const s1 = f32x4.splat(c1);
  const s2 = f32x4.splat(c2);
  const s3 = f32x4.splat(c3);
  const r0 = rows + o0;
  const r1 = rows + o1;
  const r2 = rows + o2;
  const r3 = rows + o3;
  for (let i: usize = 0; i < bytes; i += 16) {
    const sum = f32x4.add(
      f32x4.add(f32x4.mul(s0, v128.load(r0 + i)), f32x4.mul(s1, v128.load(r1 + i))),
      f32x4.add(f32x4.mul(s2, v128.load(r2 + i)), f32x4.mul(s3, v128.load(r3 + i))),
    );
    v128.store(to + i, f32x4.add(v128.load(to + i), sum));
  }
}

/** Gradients of one feature of a standard SAE: dp = λ / B + W_dec[j]·r_b on its entries, f = ReLU(p + b_enc). */
export function accumulateStandard(s: StepBlock, j: usize): void {
  const bytes = <usize>s.d << 2;
  memory.fill(s.gEnc, 0, bytes);
  memory.fill(s.gDec, 0, bytes);
  sumP = 0;
  const w = s.wDec + j * bytes;
  const bias = at(s.bias, j);
  const r = s.r;
  const trainsEnc = s.vEnc != 0;
  const trainsDec = s.vDec != 0;
  const end = indexAt(s.entryStart, j + 1);
  for (let k = indexAt(s.entryStart, j); k < end; k += 4) {
    const last = end - k;
    const o0 = indexAt(s.token, k) * bytes;
    const o1 = last > 1 ? indexAt(s.token, k + 1) * bytes : o0;
    const o2 = last > 2 ? indexAt(s.token, k + 2) * bytes : o0;
    const o3 = last > 3 ? indexAt(s.token, k + 3) * bytes : o0;
    let d0 = f32x4.splat(0);
    let d1 = f32x4.splat(0);
    let d2 = f32x4.splat(0);
    let d3 = f32x4.splat(0);
    const r0 = r + o0;
    const r1 = r + o1;
    const r2 = r + o2;
    const r3 = r + o3;
    for (let i: usize = 0; i < bytes; i += 16) {
      const row = v128.load(w + i);
      d0 = f32x4.add(d0, f32x4.mul(row, v128.load(r0 + i)));
      d1 = f32x4.add(d1, f32x4.mul(row, v128.load(r1 + i)));
      d2 = f32x4.add(d2, f32x4.mul(row, v128.load(r2 + i)));
      d3 = f32x4.add(d3, f32x4.mul(row, v128.load(r3 + i)));
    }
    const p0: f32 = s.l1 + sumLanes(d0);
    const p1: f32 = last > 1 ? s.l1 + sumLanes(d1) : 0;
    const p2: f32 = last > 2 ? s.l1 + sumLanes(d2) : 0;
    const p3: f32 = last > 3 ? s.l1 + sumLanes(d3) : 0;
    sumP += p0 + p1 + (p2 + p3);
    if (trainsEnc) weighted(s.gEnc, s.xc, o0, o1, o2, o3, p0, p1, p2, p3, bytes);
    if (!trainsDec) continue;
    const f0 = relu(at(s.p, k) + bias);
    const f1 = last > 1 ? relu(at(s.p, k + 1) + bias) : 0;
    const f2 = last > 2 ? relu(at(s.p, k + 2) + bias) : 0;
    const f3 = last > 3 ? relu(at(s.p, k + 3) + bias) : 0;
    weighted(s.gDec, r, o0, o1, o2, o3, f0, f1, f2, f3, bytes);
  }
  sumBias = sumP;
}
