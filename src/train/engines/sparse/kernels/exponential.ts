// exp(−y) for y ≥ 0, four at a time; NaN stays NaN.

/** Beyond this, exp(−y) is negligible relative to 1, but still a normal number. */
const MOST: f32 = 80;
const LOG2_E: f32 = 1.44269504;

/**
 * exp(−y) of four non-negative numbers, with relative error of about 3·10⁻⁷ near 0 and 10⁻⁵ where it is negligible: 2^z
 * is 2^round(z) times a Taylor polynomial over ± half a unit.
 */
// @ts-ignore: decorator
@inline
export function fall4(y: v128): v128 {
  const z = f32x4.mul(f32x4.pmin(y, f32x4.splat(MOST)), f32x4.splat(-LOG2_E));
  const whole = f32x4.nearest(z);
  const x = f32x4.sub(z, whole);
  // ln(2)^k / k!
  let sum = f32x4.splat(0.000154035304);
  sum = f32x4.add(f32x4.mul(sum, x), f32x4.splat(0.00133335581));
  sum = f32x4.add(f32x4.mul(sum, x), f32x4.splat(0.00961812911));
  sum = f32x4.add(f32x4.mul(sum, x), f32x4.splat(0.0555041087));
  sum = f32x4.add(f32x4.mul(sum, x), f32x4.splat(0.240226507));
  sum = f32x4.add(f32x4.mul(sum, x), f32x4.splat(0.693147181));
  sum = f32x4.add(f32x4.mul(sum, x), f32x4.splat(1));
  const power = i32x4.shl(i32x4.add(i32x4.trunc_sat_f32x4_s(whole), i32x4.splat(127)), 23);
  return f32x4.mul(sum, power);
}

/** The same for one number. */
// @ts-ignore: decorator
@inline
export function fallOf(y: f32): f32 {
  return f32x4.extract_lane(fall4(f32x4.splat(y)), 0);
}
