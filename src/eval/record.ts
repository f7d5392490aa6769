import type { GivenCommand, TrainingCommand } from '../config/command-words.js';
import type { EvalSettings } from './settings.js';

/**
 * What `eval` writes: eval.json is an array of these, one an SAE. Equations and sources: docs/metrics.md.
 *
 * Every mean is over the counted positions: those that hold a token other than BOS and are followed by a token
 * other than BOS. Losses and divergences are in nats per token; squared errors are summed over d_in. A ratio without
 * a value (loss recovered where the site does not matter to the loss) is NaN here and null in the file; `reasons` says
 * why.
 *
 * Optional keys are those that files of 0.1.0 lack; `eval` writes them all (MeasuredRecord).
 */
export interface EvalRecord {
  /** The SAE's directory as it was named on the command line. */
  sae: string;
  architecture: string;
  hook: string;
  model: string;
  d_in: number;
  d_sae: number;
  /** Number of counted positions. */
  tokens: number;
  /** Number of contexts they are from. */
  contexts?: number;
  /** Cross-entropy of the model as it is, with x replaced by x̂, and with x replaced by 0 (nats). */
  ce_clean: number;
  ce_spliced: number;
  ce_zero: number;
  /** Cross-entropy with x replaced by its mean (nats); null where mean ablation was not asked for. */
  ce_mean?: number | null;
  /** CE(x̂) − CE(x) (nats). */
  delta_ce?: number;
  /** 1 − (CE(x̂) − CE(x)) / (CE(0) − CE(x)); NaN where CE(0) − CE(x) is too small or too uncertain to divide by. */
  loss_recovered: number;
  /** 1 − (CE(x̂) − CE(x)) / (CE(x̄) − CE(x)); null where mean ablation was not asked for. */
  loss_recovered_mean?: number | null;
  /** Mean KL(clean ‖ spliced) of the next-token distributions (nats). */
  kl: number;
  /** Mean number of active features a token. */
  l0: number;
  l0_histogram?: L0Histogram;
  /** Mean |x − x̂|². */
  mse: number;
  /** Σ|x − x̂|² / Σ|x − x̄|², x̄ the mean over the counted positions. */
  fvu?: number;
  /** 1 − Σ|x − x̂|² / Σ|x − x̄|². */
  explained_variance: number;
  /** Mean of 1 − |x − x̂|² / |x − x̄|². */
  explained_variance_tokens?: number;
  /** Mean cosine of x and x̂. */
  cosine: number;
  /** Mean |x̂| / |x|. */
  norm_ratio?: number;
  /** γ = E|x̂|² / E[x̂·x]; paper, section 4.2. Below 1 is shrinkage. */
  relative_reconstruction_bias: number;
  /** Share of features active on none of the counted positions (of a training curve: on none of its dead window). */
  dead_fraction: number;
  /** Share of features active on more than a tenth of the counted positions. */
  dense_fraction?: number;
  density_histogram: DensityHistogram;
  decoder_max_cosine?: DecoderMaxCosine;
  loss_by_position?: LossByPosition;
  /** Why a ratio has no value, by its key; a sentence without its full stop. */
  reasons?: Record<string, string>;
  /** 95 % bootstrap intervals [low, high] over contexts (bootstrap.ts) of the metrics of HEADLINE, by key. */
  intervals?: Record<string, Interval>;
  /** File beside eval.json with a copy of the SAE's metrics.jsonl, or null where the SAE came without one. */
  training_curve: string | null;
  settings?: EvalSettings;
  /** The command that measured it: what a report tells to measure it again. */
  command?: GivenCommand;
  /** The command that made the SAE; null where none is known. */
  training?: TrainingCommand | null;
  /** The SAE's cfg.json, whole. */
  cfg: Record<string, unknown>;
}

/** A record as `eval` writes it today. */
export type MeasuredRecord = Required<EvalRecord>;

/** Keys that have an interval; loss_recovered_mean has one where it is measured. */
export const HEADLINE = [
  'ce_clean',
  'ce_spliced',
  'ce_zero',
  'delta_ce',
  'loss_recovered',
  'loss_recovered_mean',
  'kl',
  'l0',
  'mse',
  'explained_variance',
  'cosine',
  'relative_reconstruction_bias',
] as const;
export type Headline = (typeof HEADLINE)[number];

export type Interval = [low: number, high: number];

/** How many features fire how often: density = share of counted positions on which a feature is active. */
export interface DensityHistogram {
  /** Bin edges in log10(density), ascending, one more than counts; the last edge is 0 (active everywhere). */
  log10_edges: number[];
  /** Features a bin; dead features are in none. */
  counts: number[];
  /** Features never active. */
  dead: number;
}

/** How many features are active on how many of the counted positions. */
export interface L0Histogram {
  /** Integers at equal distances, one more than counts: bin i has edges[i] ≤ active features < edges[i + 1]. */
  edges: number[];
  /** Counted positions a bin. */
  counts: number[];
}

/** For each decoder row its largest cosine to another row; NaN for an SAE of one feature. */
export interface DecoderMaxCosine {
  /** Mean over features. */
  mean: number;
  /** The largest of all. */
  largest: number;
}

/** Mean losses (nats) by the position in the context; NaN where a bin has no counted position. */
export interface LossByPosition {
  /** Integers, one more than losses: bin i has edges[i] ≤ position < edges[i + 1]; BOS is at 0. */
  edges: number[];
  ce_clean: number[];
  ce_spliced: number[];
  ce_zero: number[];
}
