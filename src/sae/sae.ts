import { architectures } from '../config/stages.js';

export { architectures };

export type Architecture = (typeof architectures)[number];

/** Names of the parameters, in the order in which files list them. */
export type ParameterName = 'W_enc' | 'W_dec' | 'b_dec' | 'b_enc' | 'b_gate' | 'b_mag' | 'r_mag';

/** Parameters of each architecture; names and layouts are SAELens's. */
export const PARAMETERS: Record<Architecture, readonly ParameterName[]> = {
  gated: ['W_enc', 'W_dec', 'b_dec', 'b_gate', 'b_mag', 'r_mag'],
  standard: ['W_enc', 'W_dec', 'b_dec', 'b_enc'],
};

export function parameterShape(name: ParameterName, dIn: number, dSae: number): readonly number[] {
  switch (name) {
    case 'W_enc':
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

/** A sparse autoencoder in memory. */
export interface Sae {
  readonly architecture: Architecture;
  readonly dIn: number;
  readonly dSae: number;
  /** Exactly PARAMETERS[architecture], row-major. */
  readonly parameters: Parameters;
}
