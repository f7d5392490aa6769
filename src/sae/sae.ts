/**
 * Architectures that are known. Each has a descriptor under architectures/ (registry.ts), which says all the rest.
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

/** Parameters of any architecture; those that start with W_ are matrices, all but b_dec and W_skip have an entry per feature. */
// biome-ignore format: one line
export const parameterNames = ['W_enc', 'W_mag', 'W_dec', 'b_dec', 'b_enc', 'b_gate', 'b_mag', 'r_mag', 'threshold', 'W_skip'] as const;
export type ParameterName = (typeof parameterNames)[number];

/** Widths of an SAE: what it reads, what it reconstructs (the same thing unless it is a transcoder), its features. */
export interface Sizes {
  readonly dIn: number;
  readonly dOut: number;
  readonly dSae: number;
}

/** The widths of an SAE that reconstructs what it reads. */
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

/** What a forward pass depends on apart from the parameters; keys and values are those of SAELens's cfg.json. */
export interface ForwardSettings {
  /** Is it x − b_dec that is encoded, or x itself? */
  readonly apply_b_dec_to_input: boolean;
  readonly normalize_activations: 'none' | 'constant_norm_rescale' | 'layer_norm';
  /** Of topk alone: features of a token, at most. */
  readonly k?: number;
  /** Of topk alone: pre-activations are compared, and f given, as if rows of W_dec had norm 1. */
  readonly rescale_acts_by_decoder_norm?: boolean;
}

/** The forward pass of SAEs that are trained here. */
export const PLAIN: ForwardSettings = { apply_b_dec_to_input: true, normalize_activations: 'none' };

/** A sparse autoencoder in memory. */
export interface Sae extends Sizes {
  readonly architecture: ArchitectureName;
  /** PLAIN where absent. */
  readonly forward?: ForwardSettings;
  /** Does it reconstruct another hook's activations than those it reads (Dunefsky et al. 2024)? */
  readonly transcoder?: true;
  /** Of a transcoder: does it have W_skip, which reaches the target past the features (Paulo et al. 2025)? */
  readonly skip?: true;
  /** Exactly those of its architecture, and W_skip with `skip`; row-major. */
  readonly parameters: Parameters;
}
