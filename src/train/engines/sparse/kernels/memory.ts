// What lies in a worker's memory, and how it is read: blocks of named fields, numbers of arrays, lanes. The engine
// writes the same fields in the same order (blocks.ts above this folder has the table, a test compares the two).

/** One step of a worker: sizes, Adam's numbers, addresses of parameters and moments. */
@unmanaged
export class Step {
  /** RELU, GATED or JUMP (rules.ts). */
  rule: i32;
  features: i32;
  /** Tokens of a batch, and the padded length of rows [tokens]. */
  B: i32;
  Bp: i32;
  /** Padded lengths of rows of W_enc and of W_dec. */
  dIn: i32;
  dOut: i32;
  /** Adam's t of this step, from 1. */
  step: i32;
  lr: f32;
  beta1: f32;
  beta2: f32;
  /** 1 − β1 and 1 − β2, not rounded twice. */
  fresh1: f32;
  fresh2: f32;
  /** 1 / (1 − β1^t), 1 / (1 − β2^t). */
  correction1: f32;
  correction2: f32;
  epsilon: f32;
  /** Are gradients only measured; and what they are multiplied by, 1 where their norm is not clipped. */
  measures: i32;
  clip: f32;
  /** Is b_dec trained through the encoder's input, and pull wanted? */
  pulls: i32;
  /** [B, dIn] the encoder's input. */
  xc: usize;
  /** Rows [B] and [strip] of it and of a strip of W_enc as integers. */
  x: Quantised;
  w: Quantised;
  /** Widening of the screen's bound for float32's roundings, relative to |x||w|. */
  wide: f32;
  /** [strip, Bp] int32 or float32 products of a strip with the batch. */
  tile: usize;
  /** [strip + 1] and tokens of a strip's candidates; products of eight. */
  candidateStart: usize;
  candidates: usize;
  dots: usize;
  /**
   * Rows [features, dIn] and [features, dOut]: parameters, first and second moments. First moments are 0 where β1 = 0,
   * and both are where the parameter is not trained.
   */
  wEnc: usize;
  mEnc: usize;
  vEnc: usize;
  wDec: usize;
  mDec: usize;
  vDec: usize;
  /** [features] what is added to p to see whether it becomes an entry: the bias, or more where that is not all. */
  opens: usize;
  /** [features] each: b_gate or b_enc; then b_mag or the threshold, and r_mag, 0 in SAEs without them. */
  bias: usize;
  mBias: usize;
  vBias: usize;
  shift: usize;
  mShift: usize;
  vShift: usize;
  rMag: usize;
  mRMag: usize;
  vRMag: usize;
  /** [features] exp(r_mag); of JUMP the weight of ReLU(θ − h), 0 of features that are not dead. */
  factor: usize;
  /** [features] step whose moments are stored; older ones have missed decays. */
  updated: usize;
  /** Gradients of a feature: rows [dIn] and [dOut], and four sums (rules.ts). */
  gEnc: usize;
  gDec: usize;
  sums: usize;
  /** [dIn] Σ_j (Σ_b dp) W_enc[j], added to. */
  pull: usize;
}

/** A list of entries, what they reconstruct, and how it is penalised. */
@unmanaged
export class Entries {
  /** Max of a token; 0: any number. */
  k: i32;
  /** Where k is 0, what p + bias of an entry is above. */
  least: f32;
  /** Entries listed so far, and the first feature after theirs. */
  count: u32;
  next: u32;
  /** Max entries that rows whose products are known may add, where any number of a token may be. */
  limit: u32;
  /** Feature-major: [features + 1], then one for each entry. */
  start: usize;
  token: usize;
  p: usize;
  /** Token-major: [B + 1], then one for each entry. g is 0 if there is no second value. */
  tokenStart: usize;
  feature: usize;
  f: usize;
  g: usize;
  /** [B, dOut] sums Σ_j f W_dec[j] and Σ_j g W_dec[j], later 2 (x̂ − x) / B of them; second is 0 without one. */
  r: usize;
  second: usize;
  /** Does the second train W_dec? */
  unfrozen: i32;
  /** λ / B on g and on f, one of them 0; is it Σ f that is penalised? */
  l1: f32;
  l1F: f32;
  sumsF: i32;
  /**
   * Of JUMP: half of the kernel's width and 1 over all of it; does the estimator reach p; the scale of a penalty by
   * tanh(scale · f), else 0; [Bp] the derivative of the loss by a token's number of features, over B.
   */
  half: f32;
  kernel: f32;
  toEncoder: i32;
  tanhScale: f32;
  weights: usize;
  /** [Bp] f > 0 of strips that were passed through densely, added to, as float32; 0 if that is not asked. */
  counts: usize;
  /**
   * [features] 1 where f > 0 for any token, 0 if that is not asked; f64[3]: Σ penalised, number of f > 0, and of JUMP
   * Σ ReLU(θ − h) over dead features.
   */
  fired: usize;
  totals: usize;
  /** [B, k] heaps of the k largest so far, 0 if there are fewer; [Bp] their roots in the units of the screen. */
  top: usize;
  above: usize;
  /** [B] the k-th largest, and how many entries may equal it; where k is 0, [1] of the whole batch. */
  floor: usize;
  ties: usize;
}

/** Rows as integers, with what a bound on their products needs (prepare.ts). */
@unmanaged
export class Quantised {
  d: i32;
  levels: f32;
  /** 0 for int8; 0x80 for uint8 with zero point 128. */
  flip: i32;
  /** [rows, d] bytes. */
  q: usize;
  /** [rows] each. */
  inverse: usize;
  error: usize;
  length: usize;
}

/** Input or target of a batch as it was read, and where it goes. */
@unmanaged
export class Side {
  /** [rows, width] of the type FLOAT32, FLOAT16 or BFLOAT16 (prepare.ts), the 16-bit ones as bits. */
  source: usize;
  type: i32;
  width: i32;
  /** Padded width. */
  d: i32;
  /** [d] on each dimension, before the scale; 0: none. */
  factors: usize;
  scale: f32;
  /** [d] what is taken from every row. */
  taken: usize;
  /** [rows, d] */
  centred: usize;
}

/** The sum of four lanes, in one fixed order. */
// @ts-ignore: decorator
@inline
export function sumLanes(v: v128): f32 {
  return (
    f32x4.extract_lane(v, 0) + f32x4.extract_lane(v, 1) + (f32x4.extract_lane(v, 2) + f32x4.extract_lane(v, 3))
  );
}

/** Lanes of columns b to b + 3 that belong to the batch. */
// @ts-ignore: decorator
@inline
export function inside(b: i32, B: i32): v128 {
  return i32x4.lt_s(i32x4.add(i32x4.splat(b), i32x4(0, 1, 2, 3)), i32x4.splat(B));
}

/** The float32 at index i of an array. */
// @ts-ignore: decorator
@inline
export function at(array: usize, i: usize): f32 {
  return load<f32>(array + (i << 2));
}

/** The uint32 at index i of an array. */
// @ts-ignore: decorator
@inline
export function indexAt(array: usize, i: usize): usize {
  return <usize>load<u32>(array + (i << 2));
}
