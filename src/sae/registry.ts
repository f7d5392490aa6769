import type { ZodRawShape } from 'zod';
import type { Architecture, Training } from './architecture.js';
import { batchtopk } from './architectures/batchtopk.js';
import { gated } from './architectures/gated.js';
import { gatedUntied } from './architectures/gated_untied.js';
import { jumprelu } from './architectures/jumprelu.js';
import { matryoshka } from './architectures/matryoshka.js';
import { standard } from './architectures/standard.js';
import { topk } from './architectures/topk.js';
import { type Directions, directions } from './directions.js';
import {
  type ArchitectureName,
  architectures,
  type ParameterName,
  type Parameters,
  parameterNames,
  parameterShape,
  type Sae,
  type Sizes,
} from './sae.js';

/** Every architecture. A name without a descriptor does not compile. */
export const ARCHITECTURES: Readonly<Record<ArchitectureName, Architecture>> = {
  gated,
  standard,
  gated_untied: gatedUntied,
  jumprelu,
  topk,
  batchtopk,
  matryoshka,
};

/** The parameters of each, in file order. */
export const PARAMETERS = Object.fromEntries(
  architectures.map((name) => [name, ARCHITECTURES[name].parameters]),
) as Readonly<Record<ArchitectureName, readonly ParameterName[]>>;

/** The parameters of an SAE, in file order. */
export function parametersOf({ architecture, skip }: Pick<Sae, 'architecture' | 'skip'>): readonly ParameterName[] {
  return skip ? [...PARAMETERS[architecture], 'W_skip'] : PARAMETERS[architecture];
}

/** The descriptor of a name in a file; undefined if unknown. */
export function architectureNamed(name: string): Architecture | undefined {
  return Object.hasOwn(ARCHITECTURES, name) ? ARCHITECTURES[name as ArchitectureName] : undefined;
}

/** How an architecture is trained. @throws Error if it cannot be trained */
export function trainingOf(name: ArchitectureName): Training<unknown> {
  const { training } = ARCHITECTURES[name];
  if (!training) throw new Error(`${name} SAEs cannot be trained`);
  return training;
}

/** The choices of --arch. */
export const trainable = architectures.filter((name) => {
  const { training } = ARCHITECTURES[name];
  return training !== undefined && training.variantOf === undefined;
});

/** The flags of `train` that belong to one architecture, by their keys. */
export const architectureFlags: ZodRawShape = Object.assign({}, ...trainable.map((name) => trainingOf(name).flags));

/** Parameters that at least one architecture trains. */
export const trainableParameters = parameterNames.filter(
  (parameter) =>
    parameter === 'W_skip' ||
    architectures.some((name) => ARCHITECTURES[name].training && PARAMETERS[name].includes(parameter)),
);

/**
 * Random unit rows for the decoder, its transpose for the encoder, zeros; plus the architecture's own parameters.
 *
 * @param options training options, if they matter
 * @param drawn those rows and their transpose, if already drawn
 */
export function initialise(
  architecture: ArchitectureName,
  sizes: Sizes,
  seed: number,
  options?: unknown,
  drawn: Directions = directions(sizes, seed),
): Sae {
  const { W_enc, W_dec } = drawn;
  const parameters: Parameters = {};
  const training = trainingOf(architecture);
  for (const name of PARAMETERS[architecture]) {
    if (name === 'W_dec') parameters[name] = W_dec;
    else if (name === 'W_enc') parameters[name] = W_enc;
    else {
      const size = parameterShape(name, sizes).reduce((product, dim) => product * dim, 1);
      parameters[name] = training.initial?.(name, { W_enc, W_dec }, size, options) ?? new Float32Array(size);
    }
  }
  return { architecture, ...sizes, parameters };
}
