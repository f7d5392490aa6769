/**
 * Supported architectures. Each has a descriptor under architectures/ (registry.ts).
 */
export const architectures = [
  'gated',
  'standard',
  'gated_untied',
  'jumprelu',
  'topk',
  'batchtopk',
  'matryoshka',
] as const;
export type ArchitectureName = (typeof architectures)[number];

/**
 * Parameters of all architectures; names starting with W_ are matrices, and all but b_dec and W_skip have one entry per
 * feature.
 */
// biome-ignore format: one line
export const parameterNames = ['W_enc', 'W_mag', 'W_dec', 'b_dec', 'b_enc', 'b_gate', 'b_mag', 'r_mag', 'threshold', 'W_skip'] as const;
export type ParameterName = (typeof parameterNames)[number];

/** Widths of an SAE: its input, its reconstruction (the same unless it is a transcoder), and its features. */
export interface Sizes {
  readonly dIn: number;
  readonly dOut: number;
  readonly dSae: number;
}

/** The widths of an SAE that reconstructs its input. */
export function square(dIn: number, dSae: number): Sizes {
  return { dIn, dOut: dIn, dSae };
}

export function parameterShape(name: ParameterName, { dIn, dOut, dSae }: Sizes): readonly number[] {
  switch (name) {
    case 'W_enc':
    case 'W_mag':
      return [dIn, dSae];
    case 'W_dec':
      return [dSae, dOut];
    case 'b_dec':
      return [dOut];
    case 'W_skip':
      return [dOut, dIn];
    default:
      return [dSae];
  }
}

export type Parameters = Partial<Record<ParameterName, Float32Array>>;

/** Settings of a forward pass other than the parameters; keys and values are those of SAELens's cfg.json. */
export interface ForwardSettings {
  /** Is x − b_dec encoded, or x itself? */
  readonly apply_b_dec_to_input: boolean;
  readonly normalize_activations: 'none' | 'constant_norm_rescale' | 'layer_norm';
  /** For topk only: max features per token. */
  readonly k?: number;
  /** For topk only: compare pre-activations, and scale f, as if rows of W_dec had norm 1. */
  readonly rescale_acts_by_decoder_norm?: boolean;
}

/** The forward pass of SAEs trained here. */
export const PLAIN: ForwardSettings = { apply_b_dec_to_input: true, normalize_activations: 'none' };

/** A sparse autoencoder in memory. */
export interface Sae extends Sizes {
  readonly architecture: ArchitectureName;
  /** PLAIN if absent. */
  readonly forward?: ForwardSettings;
  /** Does it reconstruct activations of another hook than the one it reads (Dunefsky et al. 2024)? */
  readonly transcoder?: true;
  /**
   * For a transcoder: does it have W_skip, a linear path from input to target that bypasses the features (Paulo et al.
   * 2025)?
   */
  readonly skip?: true;
  /** Exactly those of its architecture, plus W_skip with `skip`; row-major. */
  readonly parameters: Parameters;
}
