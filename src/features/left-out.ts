import type { NormLimit } from '../activations/manifest.js';
import { Refusal } from '../errors/refusal.js';
import type { Progress } from '../progress/progress.js';
import type { SaeCollection } from './collection.js';

/**
 * Reports how many positions an SAE left out because of their norm.
 *
 * @param tokens that could have counted
 * @throws Refusal if none is left
 */
export function remarkLeftOut(
  { candidate: { path }, leftOut }: SaeCollection,
  { multiple, median }: NormLimit,
  tokens: number,
  progress: Pick<Progress, 'say'>,
): void {
  const which = `positions with a norm above ${multiple} × ${median.toPrecision(4)}`;
  if (leftOut === tokens) {
    throw new Refusal(
      `${path} leaves out ${which}: all ${tokens} of this text.`,
      'Use text similar to its training text, or --all-tokens.',
      'features/nothing-counts',
    );
  }
  progress.say(`${path}: ${leftOut} ${which} do not count; --all-tokens includes them.`);
}
