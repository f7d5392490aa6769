import { Refusal } from '../config/refusal.js';
import type { Context } from '../corpus/contexts.js';
import { firstHookNotFinite, notFiniteRemedy } from '../harvest/origin-of-nan.js';
import type { Checkpoint } from '../lm/checkpoint.js';
import type { Hook } from '../lm/hooks.js';
import type { Placement } from '../lm/precision.js';
import type { SessionOptions } from '../onnx/session.js';
import type { SaeFiles } from '../sae/saelens.js';
import type { SaeSums, SiteSums } from './sums.js';

/** What was evaluated, to say who is at fault. */
export interface Site {
  readonly checkpoint: Checkpoint;
  readonly hook: Hook;
  readonly saes: readonly SaeFiles[];
  readonly placement: Placement;
  readonly options: SessionOptions;
}

/**
 * Looks at the sums of the contexts from number `from` on, those of one pass.
 *
 * @param contexts of the pass
 * @throws Refusal naming the model and the hook where it begins, or the SAE, whose values are not finite
 */
export async function checkPass(
  { checkpoint, hook, saes, placement, options }: Site,
  site: SiteSums,
  sums: readonly SaeSums[],
  contexts: readonly Context[],
  from: number,
): Promise<void> {
  const finite = (column: readonly number[]) => column.slice(from).every(Number.isFinite);
  if (!finite(site.byContext.nllClean)) {
    const origin = await firstHookNotFinite(checkpoint, contexts, placement, options);
    const where = origin ? `, first at ${origin.name}` : ', though all hooks are finite';
    throw new Refusal(
      `The loss of ${checkpoint.name} is not finite in contexts ${contexts[0]!.index} to ${contexts.at(-1)!.index}${where}.`,
      notFiniteRemedy(placement),
    );
  }
  if (!finite(site.byContext.nllZero)) {
    throw new Refusal(
      `The loss of ${checkpoint.name} is not finite where ${hook.name} is replaced by 0.`,
      notFiniteRemedy(placement),
    );
  }
  for (const [k, { byContext }] of sums.entries()) {
    if (finite(byContext.nllSpliced) && finite(byContext.kl) && finite(byContext.error)) continue;
    throw new Refusal(
      `${saes[k]!.directory} reconstructs values that are not finite, or make the model's so.`,
      placement.precision === 'float16' ? notFiniteRemedy(placement) : 'Its weights are too large: take another SAE.',
    );
  }
}
