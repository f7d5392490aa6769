import { isUnsupported, type SparseForm } from '../../sae/architecture.js';
import { parametersOf, trainingOf } from '../../sae/registry.js';
import { type ParameterName, type Parameters, PLAIN, parameterShape, type Sae } from '../../sae/sae.js';
import { type EngineSettings, type SettledSettings, sizesOf, type TrainerState } from './engine.js';

type Trained = Pick<EngineSettings, 'architecture' | 'options' | 'trained' | 'dIn' | 'dOut' | 'dSae' | 'skip'>;

/** The architecture's own settings. */
export function optionsOf(settings: Trained): unknown {
  return settings.options ?? trainingOf(settings.architecture).options({}, sizesOf(settings));
}

/**
 * The loss step in terms of an engine's primitives.
 *
 * @throws Error if the engine cannot train it, which chooseEngine has refused before
 */
export function formOf(engine: 'sparse' | 'cuda', settings: Trained): SparseForm {
  const form = trainingOf(settings.architecture)[engine](optionsOf(settings));
  if (isUnsupported(form))
    throw new Error(`the ${engine} engine cannot train ${settings.architecture}: ${form.unsupported}`);
  return form;
}

/** Is the parameter trained? Others have no moments and are frozen. */
export function isTrained(settings: Trained, name: ParameterName): boolean {
  if (settings.trained) return settings.trained.includes(name);
  return name === 'W_skip'
    ? settings.skip === true
    : trainingOf(settings.architecture).trains(optionsOf(settings)).includes(name);
}

/** A parameter that tracks the smallest f > 0 of each batch. */
export function followedBy({ architecture }: Trained) {
  return trainingOf(architecture).follows;
}

/** The settings that an engine's threads get: loading the architectures takes them longer than many steps. */
export function settled(settings: EngineSettings): SettledSettings {
  const parameters = parametersOf(settings);
  const trained = parameters.filter((name) => isTrained(settings, name));
  return { ...settings, parameters, trained, follows: followedBy(settings) };
}

/** Names and shapes of what a step reads and writes: parameters, Adam's moments of trained ones, since_fired. */
export function stateShapes(settings: EngineSettings): Map<string, readonly number[]> {
  const shapes = new Map<string, readonly number[]>();
  for (const name of parametersOf(settings)) {
    const shape = parameterShape(name, sizesOf(settings));
    shapes.set(name, shape);
    if (!isTrained(settings, name)) continue;
    // With β1 = 0 the first moment is the gradient itself, not state.
    if (settings.beta1 > 0) shapes.set(`m/${name}`, shape);
    shapes.set(`v/${name}`, shape);
  }
  shapes.set('since_fired', [settings.dSae]);
  return shapes;
}

/** @throws Error if an array does not have the size implied by the settings, or is missing from a complete state */
export function checkSizes(state: TrainerState, settings: EngineSettings, what: 'start' | 'whole'): void {
  for (const [name, shape] of stateShapes(settings)) {
    const found = state.get(name)?.length;
    if (found === undefined && what === 'start') continue;
    const size = shape.reduce((product, dim) => product * dim, 1);
    if (found !== size) throw new Error(`state ${name}: ${found ?? 'no'} values where ${size} belong`);
  }
}

/** The SAE in training, for scaled activations. */
export function saeOf(settings: EngineSettings, state: TrainerState): Sae {
  const { architecture } = settings;
  const parameters: Parameters = {};
  for (const name of parametersOf(settings)) parameters[name] = state.get(name)!;
  const own = trainingOf(architecture).forward?.(optionsOf(settings));
  // With a different target, the bias belongs to that: the raw input is encoded.
  const forward = { ...PLAIN, apply_b_dec_to_input: settings.dOut === undefined, ...own };
  const transcoder = settings.dOut === undefined ? {} : { transcoder: true as const };
  const skip = settings.skip ? { skip: true as const } : {};
  return { architecture, ...sizesOf(settings), ...transcoder, ...skip, forward, parameters };
}

/** Bytes of the complete state. */
export function stateBytes(settings: EngineSettings): number {
  let bytes = 0;
  for (const shape of stateShapes(settings).values()) bytes += 4 * shape.reduce((product, dim) => product * dim, 1);
  return bytes;
}
