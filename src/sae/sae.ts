import type { trainableParameters } from '../config/stages.js';

/**
 * Architectures that are known: those that are trained, gated_untied, which is a gated one with `--ablate
 * untied-encoder`, and two of SAELens's that are only read and exported to.
 */
export const architectures = ['gated', 'standard', 'gated_untied', 'jumprelu', 'topk'] as const;
export type Architecture = (typeof architectures)[number];

/** Those that training makes. */
export type TrainedArchitecture = 'gated' | 'standard' | 'gated_untied';

export type ParameterName = (typeof trainableParameters)[number] | 'threshold';

/**
 * Parameters of each architecture, in the order in which files list them; names and layouts are SAELens's, which has
 * nothing like gated_untied.
 */
export const PARAMETERS: Record<Architecture, readonly ParameterName[]> = {
  gated: ['W_enc', 'W_dec', 'b_dec', 'b_gate', 'b_mag', 'r_mag'],
  standard: ['W_enc', 'W_dec', 'b_dec', 'b_enc'],
  gated_untied: ['W_enc', 'W_mag', 'W_dec', 'b_dec', 'b_gate', 'b_mag'],
  jumprelu: ['W_enc', 'W_dec', 'b_dec', 'b_enc', 'threshold'],
  topk: ['W_enc', 'W_dec', 'b_dec', 'b_enc'],
};

export function parameterShape(name: ParameterName, dIn: number, dSae: number): readonly number[] {
  switch (name) {
    case 'W_enc':
    case 'W_mag':
      return [dIn, dSae];
    case 'W_dec':
      return [dSae, dIn];
    case 'b_dec':
      return [dIn];
    default:
      return [dSae];
  }
}

export type Parameters = Partial<Record<ParameterName, Float32Array>>;

/** What a forward pass depends on beside the parameters; keys and values are those of SAELens's cfg.json. */
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
export interface Sae {
  readonly architecture: Architecture;
  readonly dIn: number;
  readonly dSae: number;
  /** PLAIN where absent. */
  readonly forward?: ForwardSettings;
  /** Exactly PARAMETERS[architecture], row-major. */
  readonly parameters: Parameters;
}
