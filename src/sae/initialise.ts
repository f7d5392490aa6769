import { Generator, Purpose } from '../random/generator.js';
import type { Architecture, Sae } from './sae.js';

/** Random unit rows for the decoder, the encoder its transpose, all biases and r_mag zero. */
export function initialise(architecture: Architecture, dIn: number, dSae: number, seed: number): Sae {
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
  const zeros = () => new Float32Array(dSae);
  const b_dec = new Float32Array(dIn);
  const biases = architecture === 'gated' ? { b_gate: zeros(), b_mag: zeros(), r_mag: zeros() } : { b_enc: zeros() };
  return { architecture, dIn, dSae, parameters: { W_enc, W_dec, b_dec, ...biases } };
}
