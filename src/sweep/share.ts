import type { SweepConfig } from '../config/stages/sweep.js';
import { UsageRefusal } from '../errors/refusal.js';
import { type HarvestPart, partOf } from '../harvest/part.js';
import type { SweepRun } from './runs.js';

/**
 * The share given by --shard; undefined without it. Unlike for a harvest, 0/1 is a share, too: it does only one stage.
 *
 * @throws UsageRefusal if there is no such share, or no scheduler provides it
 */
export const shareNamed = (shard: string | undefined): HarvestPart | undefined =>
  shard === undefined ? undefined : (partOf(shard) ?? { index: 0, of: 1 });

/**
 * Tasks share the harvest or the training of a sweep; none has all SAEs to evaluate.
 *
 * @throws UsageRefusal for another stage
 */
export function checkStageOfShare({ until }: SweepConfig): void {
  if (until === undefined || until === 'train' || until === 'harvest') return;
  throw new UsageRefusal(
    `--shard divides the harvest or the training of a sweep, but --until ${until} selects another stage.`,
    'Omit --shard: the same command without it does what is missing, and evaluates.',
    'sweep/share-of-stage',
  );
}

/** A sentence about what a task will train. */
export function toldShare(share: readonly SweepRun[], runs: readonly SweepRun[], { index, of }: HarvestPart): string {
  const which = `Share ${index} of ${of} (from 0)`;
  return share.length === 0
    ? `${which} has none of the ${runs.length} SAEs: there are more shares than SAEs that can be trained apart.`
    : `${which} trains ${share.length} of the ${runs.length} SAEs.`;
}
