import type { SweepConfig } from '../config/stages/sweep.js';
import { UsageRefusal } from '../errors/refusal.js';
import type { SweepRun } from './runs.js';

/** Part `index` of `of`, counted from 0. */
interface Part {
  readonly index: number;
  readonly of: number;
}

/**
 * What --shard of a sweep says.
 *
 * @throws UsageRefusal where there is no such part
 */
export function partOf(shard: string): Part {
  const [index, of] = shard.split('/').map(Number) as [number, number];
  if (index < of) return { index, of };
  throw new UsageRefusal(
    `--shard ${shard} is share ${index} of ${of}, and shares are counted from 0 to ${of - 1}.`,
    'Give the number of the share, and how many there are.',
    'sweep/no-such-share',
  );
}

/**
 * A share of a sweep trains and nothing else: tasks side by side must not harvest, and none has all SAEs to evaluate.
 *
 * @throws UsageRefusal for another stage
 */
export function checkStageOfShare({ until }: SweepConfig): void {
  if (until === undefined || until === 'train') return;
  throw new UsageRefusal(
    `--shard trains a share of the SAEs, and --until ${until} asks for another stage.`,
    'Leave --until out; the same command without --shard does what comes before and after.',
    'sweep/share-of-stage',
  );
}

/** What a task is going to do. */
export function toldShare(share: readonly SweepRun[], runs: readonly SweepRun[], { index, of }: Part): string {
  const which = `Share ${index} of ${of} (from 0)`;
  return share.length === 0
    ? `${which} has none of the ${runs.length} SAEs: there are more shares than SAEs that can be trained apart.`
    : `${which} trains ${share.length} of the ${runs.length} SAEs.`;
}
