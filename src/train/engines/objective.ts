import { PARAMETERS, type ParameterName } from '../../sae/sae.js';
import type { EngineSettings } from './engine.js';

/** Of what the loss of a run is made. */
export interface Objective {
  /** Is there |x − x̂_aux|²? */
  readonly auxiliary: boolean;
  /** Does it train W_dec and b_dec of its decode? */
  readonly unfrozen: boolean;
  /** Is the penalty of a gated SAE λ Σ f, not λ Σ ReLU(π_gate)? */
  readonly l1OnF: boolean;
}

export function objectiveOf({ architecture, ablations = [] }: EngineSettings): Objective {
  const gated = architecture !== 'standard';
  const auxiliary = gated && !ablations.includes('no-auxiliary');
  return {
    auxiliary,
    unfrozen: auxiliary && ablations.includes('unfrozen-decoder'),
    l1OnF: gated && ablations.includes('l1-on-f'),
  };
}

/** Does dπ_gate reach anything that is trained? */
export function trainsGate(settings: EngineSettings): boolean {
  return (['W_enc', 'b_gate', 'b_dec'] as const).some((name) => isTrained(settings, name));
}

/** Is the parameter trained? Others have no moments and keep their bits. */
export function isTrained({ architecture, trained = PARAMETERS[architecture] }: EngineSettings, name: ParameterName) {
  return trained.includes(name);
}
