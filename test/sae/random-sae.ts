import { Generator } from '../../src/random/generator.js';
import { initialise, PARAMETERS } from '../../src/sae/registry.js';
import {
  type ArchitectureName,
  type ForwardSettings,
  type Parameters,
  PLAIN,
  parameterShape,
  type Sae,
  square,
} from '../../src/sae/sae.js';

/** An SAE with every parameter random; thresholds and gaps have either sign. */
export function randomSae(
  architecture: ArchitectureName,
  dIn: number,
  dSae: number,
  seed: number,
  more: Partial<ForwardSettings> = {},
): Sae {
  const random = new Generator(seed);
  const start = initialise('gated_untied', square(dIn, dSae), seed).parameters;
  const parameters: Parameters = {};
  for (const name of PARAMETERS[architecture]) {
    const length = parameterShape(name, square(dIn, dSae)).reduce((a, b) => a * b, 1);
    parameters[name] = Float32Array.from({ length }, (_, i) => (start[name]?.[i] ?? 0) + 0.3 * random.normal());
  }
  const topK = architecture === 'topk' ? { k: Math.ceil(dSae / 5), rescale_acts_by_decoder_norm: false } : {};
  return { architecture, dIn, dOut: dIn, dSae, forward: { ...PLAIN, ...topK, ...more }, parameters };
}

/** Normal numbers. */
export function randomInputs(length: number, seed: number): Float32Array {
  const random = new Generator(seed, 1);
  return Float32Array.from({ length }, () => random.normal());
}
