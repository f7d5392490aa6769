/** A normal distribution. */
export interface Normal {
  mean: number;
  deviation: number;
}

/** Projection of x on the feature's direction where the feature is off, and where it is on: half the tokens each. */
export const OFF: Normal = { mean: 0, deviation: 1 };
/** N(2, 1/4): the second is the variance. */
export const ON: Normal = { mean: 2, deviation: 0.5 };

/** An encoder of one feature: its activation f as a function of the projection a. */
export type Encoder = (a: number) => number;

/** Where both encoders open. */
export const THRESHOLD = 1;

/** 1[a > t]·m·(a − t) with t = 1, m = 2: continuous, so that what is small is shrunk unless what is large is stretched. */
export const relu: Encoder = (a) => (a > THRESHOLD ? 2 * (a - THRESHOLD) : 0);

/** 1[a > t]·m·(a − d) with t = 1, m = 1, d = 0: from its jump on, the projection itself. */
export const jumpRelu: Encoder = (a) => (a > THRESHOLD ? a : 0);

/** Density of a normal distribution at a. */
export function density({ mean, deviation }: Normal, a: number): number {
  const z = (a - mean) / deviation;
  return Math.exp(-0.5 * z * z) / (deviation * Math.sqrt(2 * Math.PI));
}

/** Deviations from the mean beyond which the normal density is below the last bit of a sum. */
const REACH = 12;
/** Intervals on either side of the threshold; Simpson's rule needs an even number. */
const INTERVALS = 2000;

/** ∫ g from low to high by Simpson's rule; g must be smooth between them. */
function simpson(g: (a: number) => number, low: number, high: number): number {
  const h = (high - low) / INTERVALS;
  let sum = g(low) + g(high);
  for (let i = 1; i < INTERVALS; i++) sum += (i % 2 === 1 ? 4 : 2) * g(low + i * h);
  return (sum * h) / 3;
}

/** E g(a) for a of the distribution, g smooth on either side of the threshold. */
function expected(of: Normal, g: (a: number) => number): number {
  const weighted = (a: number) => density(of, a) * g(a);
  const [low, high] = [of.mean - REACH * of.deviation, of.mean + REACH * of.deviation];
  // At the threshold itself the encoder is closed: the right piece begins beside it.
  const above = THRESHOLD + Number.EPSILON * 2;
  return simpson(weighted, low, THRESHOLD) + simpson(weighted, above, high);
}

/** Mean squared error of a reconstruction: where the feature is off, where it is on, and over all tokens. */
export interface SquaredError {
  off: number;
  on: number;
  all: number;
}

/**
 * Expected squared error of f against what the feature contributes: a where it is on, and nothing where it is off, where
 * the projection is other features' doing. By quadrature.
 */
export function expectedError(f: Encoder): SquaredError {
  const off = expected(OFF, (a) => f(a) ** 2);
  const on = expected(ON, (a) => (f(a) - a) ** 2);
  return { off, on, all: (off + on) / 2 };
}
