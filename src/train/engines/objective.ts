import { isUnsupported, type SparseForm } from '../../sae/architecture.js';
import { trainingOf } from '../../sae/registry.js';
import type { ParameterName } from '../../sae/sae.js';
import { type EngineSettings, sizesOf } from './engine.js';

type Trained = Pick<EngineSettings, 'architecture' | 'options' | 'trained' | 'dIn' | 'dOut' | 'dSae'>;

/** The architecture's own settings. */
export function optionsOf(settings: Trained): unknown {
  return settings.options ?? trainingOf(settings.architecture).options({}, sizesOf(settings));
}

/**
 * The loss step in terms of an engine's primitives.
 *
 * @throws Error where the engine cannot train it; chooseEngine has refused that before
 */
export function formOf(engine: 'sparse' | 'cuda', settings: Trained): SparseForm {
  const form = trainingOf(settings.architecture)[engine](optionsOf(settings));
  if (isUnsupported(form))
    throw new Error(`the ${engine} engine cannot train ${settings.architecture}: ${form.unsupported}`);
  return form;
}

/** Is the parameter trained? Others have no moments and keep their bits. */
export function isTrained(settings: Trained, name: ParameterName): boolean {
  return (settings.trained ?? trainingOf(settings.architecture).trains(optionsOf(settings))).includes(name);
}

/** Does dπ_gate reach anything that is trained? */
export function trainsGate(settings: Trained): boolean {
  return (['W_enc', 'b_gate', 'b_dec'] as const).some((name) => isTrained(settings, name));
}
