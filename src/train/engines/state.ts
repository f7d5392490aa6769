import { PARAMETERS, trainingOf } from '../../sae/registry.js';
import { type Parameters, PLAIN, parameterShape, type Sae } from '../../sae/sae.js';
import { type EngineSettings, sizesOf, type TrainerState } from './engine.js';
import { isTrained, optionsOf } from './objective.js';

/** Names and shapes of what a step reads and writes: parameters, Adam's moments of those trained, since_fired. */
export function stateShapes(settings: EngineSettings): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  for (const name of PARAMETERS[settings.architecture]) {
    const shape = parameterShape(name, sizesOf(settings));
    shapes.set(name, shape);
    if (!isTrained(settings, name)) continue;
    // With β1 = 0 the first moment is the gradient itself and no state.
    if (settings.beta1 > 0) shapes.set(`m/${name}`, shape);
    shapes.set(`v/${name}`, shape);
  }
  shapes.set('since_fired', [settings.dSae]);
  return shapes;
}

/** @throws Error where an array has another size than the settings say, or is missing from a state that is whole */
export function checkSizes(state: TrainerState, settings: EngineSettings, what: 'start' | 'whole'): void {
  for (const [name, shape] of stateShapes(settings)) {
    const found = state.get(name)?.length;
    if (found === undefined && what === 'start') continue;
    const size = shape.reduce((product, dim) => product * dim, 1);
    if (found !== size) throw new Error(`state ${name}: ${found ?? 'no'} values where ${size} belong`);
  }
}

/** The SAE in training, of scaled activations. */
export function saeOf(settings: EngineSettings, state: TrainerState): Sae {
  const { architecture } = settings;
  const parameters: Parameters = {};
  for (const name of PARAMETERS[architecture]) parameters[name] = state.get(name)!;
  const own = trainingOf(architecture).forward?.(optionsOf(settings));
  // A target of another kind has another bias: it is the input as it is that is encoded.
  const forward = { ...PLAIN, apply_b_dec_to_input: settings.dOut === undefined, ...own };
  const transcoder = settings.dOut === undefined ? {} : { transcoder: true as const };
  return { architecture, ...sizesOf(settings), ...transcoder, forward, parameters };
}

/** Bytes of the whole state. */
export function stateBytes(settings: EngineSettings): number {
  let bytes = 0;
  for (const shape of stateShapes(settings).values()) bytes += 4 * shape.reduce((product, dim) => product * dim, 1);
  return bytes;
}
