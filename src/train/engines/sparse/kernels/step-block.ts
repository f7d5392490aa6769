/**
 * What the update kernels need of a step: addresses, sizes and Adam's numbers, laid out in memory field after field,
 * four bytes each. The engine writes the same fields in the same order (step-block.ts beside this folder).
 */
@unmanaged
export class StepBlock {
  /** Padded row length, in floats. */
  d: i32;
  /** Adam's t of this step, from 1. */
  step: i32;
  lr: f32;
  /** λ / B, on g or on f; the other is 0. A standard SAE's is l1. */
  l1: f32;
  l1F: f32;
  /** Does the auxiliary loss train W_dec? */
  unfrozen: i32;
  /** Is b_dec trained, and pull wanted? */
  pulls: i32;
  beta1: f32;
  beta2: f32;
  /** 1 − β1 and 1 − β2, not rounded twice. */
  fresh1: f32;
  fresh2: f32;
  /** 1 / (1 − β1^t), 1 / (1 − β2^t). */
  correction1: f32;
  correction2: f32;
  epsilon: f32;
  /** Batch rows [B, d]: x − b_dec, 2 (x̂ − x) / B, 2 (x̂_aux − x) / B; the last is 0 without auxiliary loss. */
  xc: usize;
  r: usize;
  rAux: usize;
  /**
   * Rows [features, d]: parameters, first and second moments. First moments are 0 where β1 = 0, and both are where the
   * parameter is not trained.
   */
  wEnc: usize;
  mEnc: usize;
  vEnc: usize;
  wDec: usize;
  mDec: usize;
  vDec: usize;
  /** [features] each: b_gate or b_enc; then b_mag and r_mag of gated SAEs. */
  bias: usize;
  mBias: usize;
  vBias: usize;
  bMag: usize;
  mBMag: usize;
  vBMag: usize;
  rMag: usize;
  mRMag: usize;
  vRMag: usize;
  expRMag: usize;
  /** [features + 1] and entries, feature-major. */
  entryStart: usize;
  token: usize;
  p: usize;
  /** [features] step whose moments are stored; older ones have missed decays. */
  updated: usize;
  /** Scratch rows [d]. */
  gEnc: usize;
  gDec: usize;
  /** [d] Σ_j (Σ_b dp) W_enc[j], added to. */
  pull: usize;
}
