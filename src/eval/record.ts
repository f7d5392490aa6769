/**
 * What `eval` writes: eval.json is an array of these, one an SAE.
 *
 * Every mean is over the counted positions: those that hold a token other than BOS and are followed by a token
 * other than BOS. Losses and divergences are in nats a token; squared errors are summed over d_in. A ratio without a
 * value (0 / 0: γ of an SAE that always gives 0) is NaN here and null in the file.
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
  /** Cross-entropy of the model as it is, with x replaced by x̂, and with x replaced by 0 (nats). */
  ce_clean: number;
  ce_spliced: number;
  ce_zero: number;
  /** 1 − (CE(x̂) − CE(x)) / (CE(0) − CE(x)). */
  loss_recovered: number;
  /** Mean KL(clean ‖ spliced) of the next-token distributions (nats). */
  kl: number;
  /** Mean number of active features a token. */
  l0: number;
  /** Mean |x − x̂|². */
  mse: number;
  /** 1 − Σ|x − x̂|² / Σ|x − x̄|². */
  explained_variance: number;
  /** Mean cosine of x and x̂. */
  cosine: number;
  /** γ = E|x̂|² / E[x̂·x]; paper, section 4.2. Below 1 is shrinkage. */
  relative_reconstruction_bias: number;
  /** Share of features active on none of the counted positions. */
  dead_fraction: number;
  density_histogram: DensityHistogram;
  /** File beside eval.json with a copy of the SAE's metrics.jsonl, or null where the SAE came without one. */
  training_curve: string | null;
  /** The SAE's cfg.json, whole. */
  cfg: Record<string, unknown>;
}

/** How many features fire how often: density = share of counted positions on which a feature is active. */
export interface DensityHistogram {
  /** Bin edges in log10(density), ascending, one more than counts; the last edge is 0 (active everywhere). */
  log10_edges: number[];
  /** Features a bin; dead features are in none. */
  counts: number[];
  /** Features never active. */
  dead: number;
}
