import { fall4 } from './exponential';
import { at, Entries, inside, Step, sumLanes } from './memory';

// Strips of JUMP processed densely; the rule for a single entry is in rules.ts, with the same formulas.

/** tanh(scale · f) of four non-negative f. */
// @ts-ignore: decorator
@inline
export function tanh4(list: Entries, f: v128): v128 {
  const one = f32x4.splat(1);
  const fall = fall4(f32x4.mul(f, f32x4.splat(2 * list.tanhScale)));
  return f32x4.div(f32x4.sub(one, fall), f32x4.add(one, fall));
}

/** The same for one number. */
// @ts-ignore: decorator
@inline
export function tanhOf(list: Entries, f: f32): f32 {
  return f32x4.extract_lane(tanh4(list, f32x4.splat(f)), 0);
}

/** ReLU(θ − h) for a feature with a nonzero weight e. */
// @ts-ignore: decorator
@inline
export function silent4(h: v128, shift: v128, e: v128): v128 {
  const zero = f32x4.splat(0);
  return v128.and(f32x4.pmax(f32x4.sub(shift, h), zero), f32x4.gt(e, zero));
}

/** One row of gradientStrip: p (matrix 0) and W_dec·r (1) become f (1) and dp (2). */
export function jumpRow(s: Step, list: Entries, first: i32, rows: i32, row: i32, sums: usize): void {
  const zero = f32x4.splat(0);
  const one = f32x4.splat(1);
  const j = <usize>(first + row);
  const matrix = (<usize>rows * <usize>s.Bp) << 2;
  const line = s.tile + ((<usize>row * <usize>s.Bp) << 2);
  const bias = f32x4.splat(at(s.bias, j));
  const shift = f32x4.splat(at(s.shift, j));
  const e = f32x4.splat(at(s.factor, j));
  const half = f32x4.splat(list.half);
  const kernel = f32x4.splat(list.kernel);
  const l1F = f32x4.splat(4 * list.l1F);
  const steepness = f32x4.splat(2 * list.tanhScale);
  const B = s.B;
  let sumP = zero;
  let sumShift = zero;
  for (let b = 0; b < s.Bp; b += 4) {
    const at = line + (<usize>b << 2);
    const real = inside(b, B);
    const h = f32x4.add(v128.load(at), bias);
    const above = f32x4.sub(h, shift);
    const open = v128.andnot(real, f32x4.le(above, zero));
    const f = v128.and(h, open);
    let slope = v128.load(at + matrix);
    if (list.tanhScale != 0) {
      const fall = fall4(f32x4.mul(f, steepness));
      const whole = f32x4.add(one, fall);
      slope = f32x4.add(slope, f32x4.div(f32x4.mul(l1F, fall), f32x4.mul(whole, whole)));
    }
    let dShift = v128.and(e, v128.and(real, f32x4.lt(above, zero)));
    let dp = f32x4.sub(v128.and(slope, open), dShift);
    const near = v128.and(real, f32x4.lt(f32x4.abs(above), half));
    const both = f32x4.add(f32x4.mul(shift, slope), v128.load(list.weights + (<usize>b << 2)));
    const estimate = v128.and(f32x4.mul(kernel, both), near);
    dShift = f32x4.sub(dShift, estimate);
    if (list.toEncoder) dp = f32x4.add(dp, estimate);
    sumP = f32x4.add(sumP, dp);
    sumShift = f32x4.add(sumShift, dShift);
    v128.store(at + matrix, f);
    v128.store(at + 2 * matrix, dp);
  }
  const total = sumLanes(sumP);
  store<f32>(sums, total);
  store<f32>(sums, total, 4);
  store<f32>(sums, sumLanes(sumShift), 8);
  store<f32>(sums, 0, 12);
}
