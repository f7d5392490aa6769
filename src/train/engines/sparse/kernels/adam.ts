import { StepBlock } from './step-block';

/**
 * Adam (Kingma and Ba 2015, algorithm 1) on four numbers. The block's numbers come in lanes, so that they are read once
 * a row.
 *
 * @param m, v addresses of the moments
 * @returns what is to be taken from the parameter
 */
// @ts-ignore: decorator
@inline
export function adam4(
  g: v128,
  m: usize,
  v: usize,
  momentum: bool,
  beta1: v128,
  fresh1: v128,
  correction1: v128,
  beta2: v128,
  fresh2: v128,
  correction2: v128,
  epsilon: v128,
  lr: v128,
): v128 {
  const v1 = f32x4.add(f32x4.mul(v128.load(v), beta2), f32x4.mul(f32x4.mul(g, g), fresh2));
  v128.store(v, v1);
  let numerator = g;
  if (momentum) {
    const m1 = f32x4.add(f32x4.mul(v128.load(m), beta1), f32x4.mul(g, fresh1));
    v128.store(m, m1);
    numerator = f32x4.mul(m1, correction1);
  }
  const denominator = f32x4.add(f32x4.sqrt(f32x4.mul(v1, correction2)), epsilon);
  return f32x4.mul(lr, f32x4.div(numerator, denominator));
}

/** The same for one number at `w`. */
// @ts-ignore: decorator
@inline
export function adam1(s: StepBlock, w: usize, g: f32, m: usize, v: usize): void {
  const v1: f32 = load<f32>(v) * s.beta2 + g * g * s.fresh2;
  store<f32>(v, v1);
  let numerator = g;
  if (s.beta1 > 0) {
    const m1: f32 = load<f32>(m) * s.beta1 + g * s.fresh1;
    store<f32>(m, m1);
    numerator = m1 * s.correction1;
  }
  store<f32>(w, load<f32>(w) - s.lr * (numerator / (Mathf.sqrt(v1 * s.correction2) + s.epsilon)));
}

/**
 * v ← β2^missed v for steps without gradient. Multiplied once a step missed, not by a power: this gives the very bits
 * of Adam on every row in every step, and does not depend on when rows are brought up to date.
 */
// @ts-ignore: decorator
@inline
export function decayRow(v: usize, bytes: usize, beta2: f32, missed: i32): void {
  const beta = f32x4.splat(beta2);
  for (let i: usize = 0; i < bytes; i += 64) {
    let a = v128.load(v + i);
    let b = v128.load(v + i, 16);
    let c = v128.load(v + i, 32);
    let e = v128.load(v + i, 48);
    // What has decayed to nothing stays so.
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

/** The same for one number. */
// @ts-ignore: decorator
@inline
export function decay1(v: usize, beta2: f32, missed: i32): void {
  let value = load<f32>(v);
  for (let k = 0; k < missed && value != 0; k++) value *= beta2;
  store<f32>(v, value);
}
