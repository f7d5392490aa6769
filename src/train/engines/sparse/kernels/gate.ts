// The gated encoder on pre-activations p (paper, eq. 6 and 7), one by one and in lanes of four. NaN stays NaN.

/** ReLU. */
// @ts-ignore: decorator
@inline
export function relu(x: f32): f32 {
  return x <= 0 ? 0 : x;
}

/** π_mag = exp(r_mag) p + b_mag. */
// @ts-ignore: decorator
@inline
export function magnitude(p: f32, expRMag: f32, bMag: f32): f32 {
  return p * expRMag + bMag;
}

/** ReLU of four; pmax returns its first operand unless it is the smaller. */
// @ts-ignore: decorator
@inline
export function relu4(x: v128): v128 {
  return f32x4.pmax(x, f32x4.splat(0));
}

/** π_mag of four. */
// @ts-ignore: decorator
@inline
export function magnitude4(p: v128, expRMag: v128, bMag: v128): v128 {
  return f32x4.add(f32x4.mul(p, expRMag), bMag);
}
