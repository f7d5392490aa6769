import { Generator, Purpose } from '../random/generator.js';

/**
 * Architectures that are known: those that are trained, gated_untied, which is a gated one with `--ablate
 * untied-encoder`, and two of SAELens's that are only read and exported to.
 */
export const architectures = ['gated', 'standard', 'gated_untied', 'jumprelu', 'topk'] as const;
export type Architecture = (typeof architectures)[number];

/** Those that training makes. */
export type TrainedArchitecture = 'gated' | 'standard' | 'gated_untied';

/** Parameters that are trained, of any architecture. */
export const trainableParameters = ['W_enc', 'W_mag', 'W_dec', 'b_dec', 'b_enc', 'b_gate', 'b_mag', 'r_mag'] as const;
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

/** Random unit rows for the decoder, the encoder its transpose (so is W_mag), all biases and r_mag zero. */
export function initialise(architecture: TrainedArchitecture, dIn: number, dSae: number, seed: number): Sae {
  const random = new Generator(seed, Purpose.initialisation);
  const W_dec = new Float32Array(dSae * dIn);
  const W_enc = new Float32Array(dIn * dSae);
  for (let j = 0; j < dSae; j++) {
    const row = Float64Array.from({ length: dIn }, () => random.normal());
    const norm = Math.sqrt(row.reduce((sum, x) => sum + x * x, 0));
    for (let i = 0; i < dIn; i++) {
      W_dec[j * dIn + i] = row[i]! / norm;
      W_enc[i * dSae + j] = W_dec[j * dIn + i]!;
    }
  }
  const parameters: Parameters = {};
  for (const name of PARAMETERS[architecture]) {
    if (name === 'W_dec') parameters[name] = W_dec;
    else if (name === 'W_enc') parameters[name] = W_enc;
    else if (name === 'W_mag') parameters[name] = W_enc.slice();
    else parameters[name] = new Float32Array(parameterShape(name, dIn, dSae)[0]!);
  }
  return { architecture, dIn, dSae, parameters };
}
