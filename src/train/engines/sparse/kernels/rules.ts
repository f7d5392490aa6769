// Transforms of an entry: a rule is a class without fields, whose methods are inlined into the loops compiled for it.
// Its parameters per feature are `bias`, e = exp(r_mag) and `shift` = b_mag; for those of JUMP see its class. NaN stays
// NaN.
import { fallOf } from './exponential';
import { at, Entries } from './memory';

/** Values of Step.rule. */
const RELU: i32 = 0;
export const GATED: i32 = 1;
export const JUMP: i32 = 2;

/** Sums over the entries of a feature: Σ_b dp, and the gradients of bias, b_mag (or the threshold) and r_mag. */
let sumP: f32 = 0;
let sumBias: f32 = 0;
let sumShift: f32 = 0;
let sumRMag: f32 = 0;

export function clearSums(): void {
  sumP = 0;
  sumBias = 0;
  sumShift = 0;
  sumRMag = 0;
}

/** Writes the four sums. */
export function storeSums(to: usize): void {
  store<f32>(to, sumP);
  store<f32>(to, sumBias, 4);
  store<f32>(to, sumShift, 8);
  store<f32>(to, sumRMag, 12);
}

/** f = ReLU(p + bias); without g. */
@unmanaged
export class Relu {
  // @ts-ignore: decorator
  @inline
  hasSecond(): bool {
    return false;
  }

  /** Does a feature have parameters e and shift? */
  // @ts-ignore: decorator
  @inline
  hasNumbers(): bool {
    return false;
  }

  /** Are there entries with f = 0, needed only for the gradient of the threshold? */
  // @ts-ignore: decorator
  @inline
  hasSilent(): bool {
    return false;
  }

  /** The argument of the ReLU in f. */
  // @ts-ignore: decorator
  @inline
  magnitude(p: f32, bias: f32, e: f32, shift: f32): f32 {
    return p + bias;
  }

  // @ts-ignore: decorator
  @inline
  magnitude4(p: v128, bias: v128, e: v128, shift: v128): v128 {
    return f32x4.add(p, bias);
  }

  /** dp of an entry from its residual dot product; `sum4` adds it up. */
  // @ts-ignore: decorator
  @inline
  gradient(list: Entries, t: usize, p: f32, bias: f32, e: f32, shift: f32, df: f32, dg: f32): f32 {
    return list.l1F + df;
  }

  // @ts-ignore: decorator
  @inline
  sum4(p0: f32, p1: f32, p2: f32, p3: f32): void {
    sumP += p0 + p1 + (p2 + p3);
    sumBias = sumP;
  }
}

/** f = ReLU(e p + b_mag) where p + b_gate > 0, and g = p + b_gate (paper, eq. 6 and 7). */
@unmanaged
export class Gated {
  // @ts-ignore: decorator
  @inline
  hasSecond(): bool {
    return true;
  }

  // @ts-ignore: decorator
  @inline
  hasNumbers(): bool {
    return true;
  }

  // @ts-ignore: decorator
  @inline
  hasSilent(): bool {
    return false;
  }

  // @ts-ignore: decorator
  @inline
  magnitude(p: f32, bias: f32, e: f32, shift: f32): f32 {
    return p * e + shift;
  }

  // @ts-ignore: decorator
  @inline
  magnitude4(p: v128, bias: v128, e: v128, shift: v128): v128 {
    return f32x4.add(f32x4.mul(p, e), shift);
  }

  /** dp of an entry with an open gate, from its two residual dot products; adds to the sums. */
  // @ts-ignore: decorator
  @inline
  gradient(list: Entries, t: usize, p: f32, bias: f32, e: f32, shift: f32, df: f32, dg: f32): f32 {
    const dPi: f32 = list.l1 + dg;
    const dMag: f32 = p * e + shift > 0 ? list.l1F + df : 0;
    const dp: f32 = dPi + e * dMag;
    sumP += dp;
    sumBias += dPi;
    sumShift += dMag;
    sumRMag += dMag * (e * p);
    return dp;
  }

  // @ts-ignore: decorator
  @inline
  sum4(p0: f32, p1: f32, p2: f32, p3: f32): void {}
}

/**
 * f = h where h = p + bias > θ = shift ≥ 0, trained by straight-through estimators (Rajamanoharan et al. 2024b): with K
 * = 1 where |h − θ| < ε/2 and otherwise 0, ∂f/∂θ is estimated by −(θ/ε) K, and ∂1[h > θ]/∂θ by −K/ε. e is the weight of
 * ReLU(θ − h), divided by B.
 */
@unmanaged
export class Jump {
  // @ts-ignore: decorator
  @inline
  hasSecond(): bool {
    return false;
  }

  // @ts-ignore: decorator
  @inline
  hasNumbers(): bool {
    return true;
  }

  // @ts-ignore: decorator
  @inline
  hasSilent(): bool {
    return true;
  }

  // @ts-ignore: decorator
  @inline
  magnitude(p: f32, bias: f32, e: f32, shift: f32): f32 {
    const h = p + bias;
    return h <= shift ? 0 : h;
  }

  // @ts-ignore: decorator
  @inline
  magnitude4(p: v128, bias: v128, e: v128, shift: v128): v128 {
    const h = f32x4.add(p, bias);
    return v128.andnot(h, f32x4.le(h, shift));
  }

  /** dp of an entry from its residual dot product; adds to the sums. */
  // @ts-ignore: decorator
  @inline
  gradient(list: Entries, t: usize, p: f32, bias: f32, e: f32, shift: f32, df: f32, dg: f32): f32 {
    const h = p + bias;
    const above = h - shift;
    const closed = above <= 0;
    let slope = df;
    // λ s tanh′(s f) = 4 λ s exp(−2 s f) / (1 + exp(−2 s f))²
    if (list.tanhScale != 0) {
      const fall: f32 = closed ? 1 : fallOf(2 * list.tanhScale * h);
      slope += (list.l1F * 4 * fall) / ((1 + fall) * (1 + fall));
    }
    let dp: f32 = closed ? 0 : slope;
    let dShift: f32 = 0;
    if (above < 0) {
      dp -= e;
      dShift = e;
    }
    if (Mathf.abs(above) < list.half) {
      const estimate = list.kernel * (shift * slope + at(list.weights, t));
      dShift -= estimate;
      if (list.toEncoder) dp += estimate;
    }
    sumP += dp;
    sumBias += dp;
    sumShift += dShift;
    return dp;
  }

  // @ts-ignore: decorator
  @inline
  sum4(p0: f32, p1: f32, p2: f32, p3: f32): void {}
}

/** A feature's element of an optional array. */
// @ts-ignore: decorator
@inline
export function numberOf<R>(array: usize, j: usize): f32 {
  return changetype<R>(0).hasNumbers() ? at(array, j) : 0;
}

/** ReLU. */
// @ts-ignore: decorator
@inline
export function relu(x: f32): f32 {
  return x <= 0 ? 0 : x;
}

/** ReLU of four numbers; pmax returns its first operand unless it is smaller. */
// @ts-ignore: decorator
@inline
export function relu4(x: v128): v128 {
  return f32x4.pmax(x, f32x4.splat(0));
}
