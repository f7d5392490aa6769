import type { ParameterName, Sae } from './sae.js';

/**
 * Parameters that are proportional to activations. Every architecture is positively homogeneous: scaling x and these
 * by s scales π_gate, f and x̂ by s and leaves W_enc, W_mag, the unit-norm W_dec and r_mag alone.
 */
export const PROPORTIONAL: readonly ParameterName[] = ['b_dec', 'b_enc', 'b_gate', 'b_mag', 'threshold'];

/** The SAE that does to s·x what `sae` does to x: training starts from here when activations are scaled by s. */
export function scaleActivations(sae: Sae, s: number): Sae {
  const parameters = { ...sae.parameters };
  for (const name of PROPORTIONAL) {
    const values = parameters[name];
    if (values) parameters[name] = values.map((value) => value * s);
  }
  return { ...sae, parameters };
}
