import type { ParameterName } from '../../../sae/sae.js';
import type { EngineSettings } from '../engine.js';
import { objectiveOf } from '../objective.js';

/** Which pre-activations p + bias become entries. */
export type Select =
  | { readonly kind: 'positive'; readonly bias: ParameterName }
  | { readonly kind: 'k-per-token'; readonly bias: ParameterName; readonly k: number };

/** A loss step in terms of the engines' primitives: select, sparse decode, sparse gradient + Adam on rows. */
export interface SparseForm {
  readonly select: Select;
  readonly rule: 'relu' | 'gated';
  /** Is there a second reconstruction, of g; and does it train W_dec and the bias of its decode? */
  readonly second?: { readonly trainsDecoder: boolean };
  /** What λ multiplies. */
  readonly penalty: 'f' | 'g' | 'none';
  readonly auxK?: { readonly k: number; readonly coefficient: number };
}

/** The form of today's settings. */
export function formOf(settings: EngineSettings): SparseForm {
  if (settings.architecture === 'gated_untied') throw new Error('the CUDA engine has no untied encoder');
  if (settings.architecture === 'standard') {
    return { select: { kind: 'positive', bias: 'b_enc' }, rule: 'relu', penalty: 'f' };
  }
  const { auxiliary, unfrozen, l1OnF } = objectiveOf(settings);
  return {
    select: { kind: 'positive', bias: 'b_gate' },
    rule: 'gated',
    ...(auxiliary ? { second: { trainsDecoder: unfrozen } } : {}),
    penalty: l1OnF ? 'f' : 'g',
  };
}
