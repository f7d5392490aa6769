import type { Batch } from '../../activations/activation-source.js';
import type { ActivationDType } from '../../activations/manifest.js';
import type { enginePrecisions } from '../../config/values.js';
import type { Training } from '../../sae/architecture.js';
import type { ArchitectureName, ParameterName, Sae, Sizes } from '../../sae/sae.js';

/** Factors per dimension. */
export interface Factors {
  /** [d_in] */
  readonly input: readonly number[];
  /** [d_out], for a target that is not the input */
  readonly target?: readonly number[];
}

/** Constants of a run. */
export interface EngineSettings {
  readonly architecture: ArchitectureName;
  /** The architecture's own settings, from its descriptor's `options`; defaults if absent. */
  readonly options?: unknown;
  /** Trained parameters, all if absent; the others are frozen bit for bit, including the norms of W_dec's rows. */
  readonly trained?: readonly ParameterName[];
  readonly dIn: number;
  /** Width of the target, if that is not the input: batches then have y. */
  readonly dOut?: number;
  readonly dSae: number;
  /** Is there a W_skip, from the input to the target? Only with dOut. */
  readonly skip?: true;
  /** Activations per step. */
  readonly batch: number;
  /** Element type of the batches: bits of float16 or bfloat16, which the engine converts, or float32. */
  readonly batchDType: ActivationDType;
  /** Factor on the activations, s = √d_in / mean |x|, or 1. */
  readonly scale: number;
  /** Factor on the target, √d_out / mean |y|, or 1; only with dOut. */
  readonly scaleOut?: number;
  /** Factors per dimension, applied to the input before the scale, and to the target, exact in float32; 1 if absent. */
  readonly factors?: Factors;
  readonly beta1: number;
  readonly beta2: number;
  /** Max norm of all gradients together; absent: no clipping. */
  readonly clipGradNorm?: number;
  /** A feature is dead after this many activations without firing. */
  readonly deadWindow: number;
  readonly device?: string;
  readonly threads?: number;
  /** Precision of the CUDA engine's encoder product; sums are float32. tf32 if absent. */
  readonly precision?: (typeof enginePrecisions)[number];
}

/** Settings with what their architecture says of them: whoever has these needs no architecture. */
export interface SettledSettings extends EngineSettings {
  /** In the order of files. */
  readonly parameters: readonly ParameterName[];
  readonly trained: readonly ParameterName[];
  /** The parameter that follows the smallest f > 0 of each batch. */
  readonly follows?: Training<unknown>['follows'];
}

export function sizesOf({ dIn, dOut = dIn, dSae }: Pick<EngineSettings, 'dIn' | 'dOut' | 'dSae'>): Sizes {
  return { dIn, dOut, dSae };
}

/** Scaled inputs, and their targets if different; one or several rows. */
export interface Example {
  /** [rows × d_in] */
  readonly x: Float32Array;
  /** [rows × d_out] */
  readonly y?: Float32Array;
}

/** Scheduled values of one step. */
export interface StepSettings {
  readonly lr: number;
  /** λ. */
  readonly l1: number;
}

/** Sums and means over the batch of one step, before its update. */
export interface StepMetrics {
  /** mean_b |y − ŷ|² */
  readonly mse: number;
  /** λ · mean_b of the penalty; 0 without one */
  readonly l1: number;
  /** mean_b of the auxiliary loss; 0 without */
  readonly aux: number;
  /** Mean number of features with f > 0. */
  readonly l0: number;
  /** mean_b |y − ȳ|², ȳ the mean of the batch */
  readonly variance: number;
  /** Features dead after this step. */
  readonly dead: number;
  /**
   * Some sum over everything written by the step. If it is finite, so is the complete state; if not, the state must be
   * checked (the sum alone may overflow). Absent: the engine does not provide it.
   */
  readonly written?: number;
}

/**
 * Everything changed by a step, by name: parameters (`W_enc`), Adam's moments (`m/W_enc`, `v/W_enc`), `since_fired`.
 */
export type TrainerState = ReadonlyMap<string, Float32Array>;

/**
 * Computes training steps. Engines differ in method, not in result: each is tested against the reference engine. One
 * step: forward, backward, ∂W_dec projected onto the tangent of the unit sphere, optional gradient clipping, Adam,
 * W_dec rows renormalised; frozen parameters are unchanged.
 */
export interface Engine {
  /**
   * Memory for two batches, from which a step takes one without copying: the caller may overwrite a batch passed to
   * `step` once that step is over. Absent: the engine copies every batch.
   */
  readonly buffers?: readonly Batch[];
  /** @param batch of settings.batch rows, unscaled */
  step(batch: Batch, settings: StepSettings): Promise<StepMetrics>;
  /** Steps done, counted from the start of the run (Adam's t). */
  readonly steps: number;
  /** The SAE of scaled activations. */
  sae(): Promise<Sae>;
  /**
   * The training loss of single inputs under the current SAE, [rows]; absent if the engine has no faster method than a
   * plain graph.
   *
   * @param l1 λ
   */
  losses?(rows: Example, l1: number): Promise<Float64Array>;
  /** A copy of the complete state. */
  state(): Promise<TrainerState>;
  /**
   * Continues from another state, bit-identical to an engine opened with it at this step. Threads, sessions and memory
   * are reused: repeated changes of the state, as in resampling, cost only the copies.
   *
   * @param state complete
   * @throws Error if an array is missing or of another size; nothing has changed then
   */
  load(state: TrainerState): Promise<void>;
  close(): Promise<void>;
}

/** Adam's ε, PyTorch's default. */
export const ADAM_EPSILON = 1e-8;
/** Added by PyTorch's clip_grad_norm_ to the norm in the denominator. */
export const CLIP_EPSILON = 1e-6;
