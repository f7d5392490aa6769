// What becomes of an entry: a rule is a class without fields, whose methods are inlined into the loops that are
// compiled for it. Its numbers for a feature are `bias`, e = exp(r_mag) and `shift` = b_mag. NaN stays NaN.
import { at, Entries } from './memory';

/** Values of Step.rule. */
export const RELU: i32 = 0;
export const GATED: i32 = 1;

/** Sums over the entries of a feature: Σ_b dp, and the gradients of bias, b_mag and r_mag. */
let sumP: f32 = 0;
let sumBias: f32 = 0;
let sumBMag: f32 = 0;
let sumRMag: f32 = 0;

export function clearSums(): void {
  sumP = 0;
  sumBias = 0;
  sumBMag = 0;
  sumRMag = 0;
}

/** Writes the four sums. */
export function storeSums(to: usize): void {
  store<f32>(to, sumP);
  store<f32>(to, sumBias, 4);
  store<f32>(to, sumBMag, 8);
  store<f32>(to, sumRMag, 12);
}

/** f = ReLU(p + bias); there is no g. */
@unmanaged
export class Relu {
  // @ts-ignore: decorator
  @inline
  hasSecond(): bool {
    return false;
  }

  /** What f is the ReLU of. */
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

  /** dp of an entry from its residual dot; `sum4` adds it up. */
  // @ts-ignore: decorator
  @inline
  gradient(list: Entries, p: f32, e: f32, shift: f32, df: f32, dg: f32): f32 {
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
  magnitude(p: f32, bias: f32, e: f32, shift: f32): f32 {
    return p * e + shift;
  }

  // @ts-ignore: decorator
  @inline
  magnitude4(p: v128, bias: v128, e: v128, shift: v128): v128 {
    return f32x4.add(f32x4.mul(p, e), shift);
  }

  /** dp of an entry, whose gate is open, from its two residual dots; adds to the sums. */
  // @ts-ignore: decorator
  @inline
  gradient(list: Entries, p: f32, e: f32, shift: f32, df: f32, dg: f32): f32 {
    const dPi: f32 = list.l1 + dg;
    const dMag: f32 = p * e + shift > 0 ? list.l1F + df : 0;
    const dp: f32 = dPi + e * dMag;
    sumP += dp;
    sumBias += dPi;
    sumBMag += dMag;
    sumRMag += dMag * (e * p);
    return dp;
  }

  // @ts-ignore: decorator
  @inline
  sum4(p0: f32, p1: f32, p2: f32, p3: f32): void {}
}

/** A feature's number of an array that its rule may do without. */
// @ts-ignore: decorator
@inline
export function numberOf<R>(array: usize, j: usize): f32 {
  return changetype<R>(0).hasSecond() ? at(array, j) : 0;
}

/** ReLU. */
// @ts-ignore: decorator
@inline
export function relu(x: f32): f32 {
  return x <= 0 ? 0 : x;
}

/** ReLU of four; pmax returns its first operand unless it is the smaller. */
// @ts-ignore: decorator
@inline
export function relu4(x: v128): v128 {
  return f32x4.pmax(x, f32x4.splat(0));
}
