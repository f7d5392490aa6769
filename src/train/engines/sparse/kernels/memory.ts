// The contents of a worker's memory and how to read them: blocks of named fields, array elements, lanes. The engine
// writes the same fields in the same order (the table is in kernels.ts above this folder; a test compares the two).

/** One step of a worker: sizes, Adam's constants, addresses of parameters and moments. */
@unmanaged
export class Step {
  /** RELU, GATED or JUMP (rules.ts). */
  rule: i32;
  features: i32;
  /** Number of tokens of a batch, and the padded length of rows [tokens]. */
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
  /** 1 − β1 and 1 − β2, rounded only once. */
  fresh1: f32;
  fresh2: f32;
  /** 1 / (1 − β1^t), 1 / (1 − β2^t). */
  correction1: f32;
  correction2: f32;
  epsilon: f32;
  /** Are gradients only measured? And their factor, 1 if their norm is not clipped. */
  measures: i32;
  clip: f32;
  /** Is b_dec trained through the encoder's input, so that pull is needed? */
  pulls: i32;
  /** [B, dIn] the encoder's input. */
  xc: usize;
  /** Quantised rows [B] and [strip], of the input and of a strip of W_enc. */
  x: Quantised;
  w: Quantised;
  /** Margin of the screen's bound for float32 rounding, relative to |x||w|. */
  wide: f32;
  /** [strip, Bp] int32 or float32 products of a strip with the batch. */
  tile: usize;
  /** [strip + 1] starts, and tokens, of a strip's candidates; dot products of eight. */
  candidateStart: usize;
  candidates: usize;
  dots: usize;
  /**
   * Rows [features, dIn] and [features, dOut]: parameters, first and second moments. First moments are 0 if β1 = 0, and
   * both are if the parameter is frozen.
   */
  wEnc: usize;
  mEnc: usize;
  vEnc: usize;
  wDec: usize;
  mDec: usize;
  vDec: usize;
  /**
   * [features] added to p to decide whether it becomes an entry: the bias, or more if that does not include all
   * entries.
   */
  opens: usize;
  /** [features] each: b_gate or b_enc; then b_mag or the threshold, and r_mag; 0 in SAEs without them. */
  bias: usize;
  mBias: usize;
  vBias: usize;
  shift: usize;
  mShift: usize;
  vShift: usize;
  rMag: usize;
  mRMag: usize;
  vRMag: usize;
  /** [features] exp(r_mag); for JUMP the weight of ReLU(θ − h), 0 for features that are not dead. */
  factor: usize;
  /** [features] step of the stored moments; older ones have missed decays. */
  updated: usize;
  /** Gradients of a feature: rows [dIn] and [dOut], and four sums (rules.ts). */
  gEnc: usize;
  gDec: usize;
  sums: usize;
  /** [dIn] Σ_j (Σ_b dp) W_enc[j], accumulated. */
  pull: usize;
}

/** A list of entries, their reconstruction, and their penalty. */
@unmanaged
export class Entries {
  /** Max entries per token; 0: no limit. */
  k: i32;
  /** If k is 0, the lower bound of p + bias of an entry. */
  least: f32;
  /** Number of entries so far, and the first feature after theirs. */
  count: u32;
  next: u32;
  /** Max entries that rows with known products may add, if entries per token are unlimited. */
  limit: u32;
  /** Feature-major: [features + 1], then one per entry. */
  start: usize;
  token: usize;
  p: usize;
  /** Token-major: [B + 1], then one per entry. g is 0 without a second value. */
  tokenStart: usize;
  feature: usize;
  f: usize;
  g: usize;
  /** [B, dOut] sums Σ_j f W_dec[j] and Σ_j g W_dec[j], later 2 (x̂ − x) / B of them; second is 0 without one. */
  r: usize;
  second: usize;
  /** Does the second train W_dec? */
  unfrozen: i32;
  /** λ / B on g and on f, one of them 0; is Σ f penalised? */
  l1: f32;
  l1F: f32;
  sumsF: i32;
  /**
   * For JUMP: half of the kernel's width, and 1 over the full width; does the estimator train the encoder; the scale of
   * a tanh penalty, otherwise 0; [Bp] the derivative of the loss with respect to a token's number of features, divided
   * by B.
   */
  half: f32;
  kernel: f32;
  toEncoder: i32;
  tanhScale: f32;
  weights: usize;
  /** [Bp] number of f > 0 in strips processed densely, accumulated as float32; 0 if not needed. */
  counts: usize;
  /**
   * [features] 1 if f > 0 for any token, 0 if not needed; f64[3]: Σ penalised, number of f > 0, and for JUMP Σ ReLU(θ −
   * h) over dead features.
   */
  fired: usize;
  totals: usize;
  /** [B, k] heaps of the k largest so far, padded with 0; [Bp] their roots in the units of the screen. */
  top: usize;
  above: usize;
  /** [B] the k-th largest, and how many entries may equal it; if k is 0, [1] for the whole batch. */
  floor: usize;
  ties: usize;
}

/** Rows as integers, with the quantities that bound their products (prepare.ts). */
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

/** Input or target of a batch as read, and its destination. */
@unmanaged
export class Side {
  /** [rows, width] of type FLOAT32, FLOAT16 or BFLOAT16 (prepare.ts), the 16-bit ones as bits. */
  source: usize;
  type: i32;
  width: i32;
  /** Padded width. */
  d: i32;
  /** [d] factors per dimension, before the scale; 0: none. */
  factors: usize;
  scale: f32;
  /** [d] subtracted from every row. */
  taken: usize;
  /** [rows, d] */
  centred: usize;
}

/** The sum of four lanes, in a fixed order. */
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
