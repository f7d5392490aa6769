/** Name of the training curve beside the SAE. */
export const METRICS_FILE = 'metrics.jsonl';

/**
 * One line of metrics.jsonl. Values are means over the steps since the line before, except dead_fraction (as it stood
 * at `step`) and lr (of `step`).
 */
export interface MetricsRecord {
  /** Steps done. */
  step: number;
  /** Activations seen. */
  tokens: number;
  /** mse + l1 + aux, on normalised activations. */
  loss: number;
  /** Mean |x − x̂|², summed over d_in. */
  mse: number;
  /** λ · mean Σ_j ReLU(π_gate)_j (gated) or λ · mean Σ_j f_j (standard, --ablate l1-on-f). */
  l1: number;
  /** Mean |x − x̂_frozen(ReLU(π_gate))|²; 0 for standard and with --ablate no-auxiliary. */
  aux: number;
  /** Mean number of active features. */
  l0: number;
  /** 1 − Σ|x − x̂|² / Σ|x − x̄|²; null where the activations of each batch are all alike (batches of one), or so large that no float32 holds their variance. */
  explained_variance: number | null;
  /** Share of features that fired on none of the last dead-window activations; null while the run has seen fewer. */
  dead_fraction: number | null;
  lr: number;
  /** Dead features resampled since the line before, where there were any. */
  resampled?: number;
  /** Activations a second since the line before. */
  tokens_per_second: number;
}
