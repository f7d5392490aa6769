import type { Batch } from '../../activations/activation-source.js';
import type { ActivationDType } from '../../activations/manifest.js';
import type { enginePrecisions } from '../../config/values.js';
import type { ArchitectureName, ParameterName, Sae, Sizes } from '../../sae/sae.js';

/** Factors of every dimension. */
export interface Factors {
  /** [d_in] */
  readonly input: readonly number[];
  /** [d_out], of a target that is not the input */
  readonly target?: readonly number[];
}

/** What stays the same over all steps of a run. */
export interface EngineSettings {
  readonly architecture: ArchitectureName;
  /** Its own settings, as its descriptor's `options` gives them; those of no flags if absent. */
  readonly options?: unknown;
  /** Parameters that are trained, all if absent; the others keep their bits, W_dec the norms of its rows. */
  readonly trained?: readonly ParameterName[];
  readonly dIn: number;
  /** Width of the target, where that is not the input: batches then have y. */
  readonly dOut?: number;
  readonly dSae: number;
  /** Is there a W_skip, from the input to the target? With dOut alone. */
  readonly skip?: true;
  /** Activations a step. */
  readonly batch: number;
  /** Element type of the batches: bits of float16 or bfloat16, which the engine widens, or float32. */
  readonly batchDType: ActivationDType;
  /** Factor on the activations, s = √d_in / mean |x|, or 1. */
  readonly scale: number;
  /** Factor on the target, √d_out / mean |y|, or 1; with dOut alone. */
  readonly scaleOut?: number;
  /** On each dimension of the input before the scale, and of the target, numbers of float32; 1 if absent. */
  readonly factors?: Factors;
  readonly beta1: number;
  readonly beta2: number;
  /** The norm of all gradients together is cut to this; absent: it is not. */
  readonly clipGradNorm?: number;
  /** A feature that has not fired during this many activations is dead. */
  readonly deadWindow: number;
  readonly device?: string;
  readonly threads?: number;
  /** Of the CUDA engine's encoder product; sums are float32. tf32 if absent. */
  readonly precision?: (typeof enginePrecisions)[number];
}

export function sizesOf({ dIn, dOut = dIn, dSae }: Pick<EngineSettings, 'dIn' | 'dOut' | 'dSae'>): Sizes {
  return { dIn, dOut, dSae };
}

/** Inputs, scaled, and their targets where those are others; of one or of several rows. */
export interface Example {
  /** [rows × d_in] */
  readonly x: Float32Array;
  /** [rows × d_out] */
  readonly y?: Float32Array;
}

/** What a schedule sets for one step. */
export interface StepSettings {
  readonly lr: number;
  /** λ. */
  readonly l1: number;
}

/** Sums and means over the batch of one step, before its update. */
export interface StepMetrics {
  /** mean_b |y − ŷ|² */
  readonly mse: number;
  /** λ · mean_b of what is penalised; 0 if nothing is */
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
   * Some sum over all that the step wrote. Where it is finite, so is every number of the state; where it is not, the
   * state must be checked (the sum alone may overflow). Absent: the engine does not say.
   */
  readonly written?: number;
}

/** Everything a step changes, by name: parameters (`W_enc`), Adam's moments (`m/W_enc`, `v/W_enc`), `since_fired`. */
export type TrainerState = ReadonlyMap<string, Float32Array>;

/**
 * Computes training steps. Engines differ in how, never in what: each is tested against the reference engine.
 * One step: forward, backward, ∂W_dec projected tangent to the unit sphere, gradients clipped where asked, Adam, W_dec rows renormalised; what is not
 * trained is left alone.
 */
export interface Engine {
  /**
   * Memory for two batches, from which a step takes one without copying it: whoever gives such a batch to `step` may
   * write to it again once that step is over. Absent: the engine copies every batch.
   */
  readonly buffers?: readonly Batch[];
  /** @param batch of settings.batch rows, unscaled */
  step(batch: Batch, settings: StepSettings): Promise<StepMetrics>;
  /** Steps done, counted from the first of the run (Adam's t). */
  readonly steps: number;
  /** The SAE of scaled activations. */
  sae(): Promise<Sae>;
  /**
   * The loss that trains, of single inputs under the SAE as it stands, [rows]; absent if the engine has no faster way
   * than a plain graph.
   *
   * @param l1 λ
   */
  losses?(rows: Example, l1: number): Promise<Float64Array>;
  /** A copy of the whole state. */
  state(): Promise<TrainerState>;
  /**
   * Goes on from another state, as an engine opened with it at these steps would to the last bit. Threads, sessions and
   * memory are kept: whoever changes a state again and again, as resampling does, costs no more than its copies.
   *
   * @param state whole
   * @throws Error if an array is missing or of another size; nothing has changed then
   */
  load(state: TrainerState): Promise<void>;
  close(): Promise<void>;
}

/** Adam's ε, PyTorch's default. */
export const ADAM_EPSILON = 1e-8;
/** What PyTorch's clip_grad_norm_ adds to the norm that it divides by. */
export const CLIP_EPSILON = 1e-6;
