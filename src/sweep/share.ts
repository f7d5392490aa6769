import type { SweepConfig } from '../config/stages/sweep.js';
import { UsageRefusal } from '../errors/refusal.js';
import { type HarvestPart, partOf } from '../harvest/part.js';
import type { SweepRun } from './runs.js';

/**
 * The share that --shard names; undefined without it. Unlike a harvest's, 0/1 is a share, too: it does one stage and no more.
 *
 * @throws UsageRefusal where there is no such share, or no scheduler tells it
 */
export const shareNamed = (shard: string | undefined): HarvestPart | undefined =>
  shard === undefined ? undefined : (partOf(shard) ?? { index: 0, of: 1 });

/**
 * Tasks share the harvest or the training of a sweep. No share has all SAEs to evaluate.
 *
 * @throws UsageRefusal for another stage
 */
export function checkStageOfShare({ until }: SweepConfig): void {
  if (until === undefined || until === 'train' || until === 'harvest') return;
  throw new UsageRefusal(
    `--shard divides the harvest or the training of a sweep, and --until ${until} asks for another stage.`,
    'Leave --shard out: the same command without it does what is missing, and evaluates.',
    'sweep/share-of-stage',
  );
}

/** What a task is going to do. */
export function toldShare(share: readonly SweepRun[], runs: readonly SweepRun[], { index, of }: HarvestPart): string {
  const which = `Share ${index} of ${of} (from 0)`;
  return share.length === 0
    ? `${which} has none of the ${runs.length} SAEs: there are more shares than SAEs that can be trained apart.`
    : `${which} trains ${share.length} of the ${runs.length} SAEs.`;
}
