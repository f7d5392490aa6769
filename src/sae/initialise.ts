import { Generator, Purpose } from '../random/generator.js';
import { PARAMETERS, type Parameters, parameterShape, type Sae, type TrainedArchitecture } from './sae.js';

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
