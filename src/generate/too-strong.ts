import { Refusal } from '../errors/refusal.js';
import type { Change } from '../sae/feature-changes.js';
import { changeInWords } from './steered-texts.js';

/** The error when changes of features make the logits non-finite. */
export function tooStrong(changes: readonly Change[], saes: readonly { readonly path: string }[]): Refusal {
  return new Refusal(
    `With ${changes.map((change) => changeInWords(change, saes)).join(', ')} the logits of the model are not finite.`,
    'Use a smaller strength; activations of features are rarely above a few hundred.',
    'generate/not-finite',
  );
}
