import { type Progress, shortCount, significant } from '../progress/progress.js';
import { openSae } from '../sae/saelens.js';
import type { MetricsRecord } from '../sae/training-curve.js';
import { trainingRecordOf } from '../sae/training-record.js';

/** Why a trained SAE is useless, and what to change. */
export interface Fault {
  readonly kind: 'silent' | 'worse-than-mean' | 'dead' | 'not-sparse';
  /** One sentence. */
  readonly message: string;
  /** One sentence. */
  readonly remedy: string;
}

/** The judged figures from the last line of a training curve; NaN if unknown. */
export type LastFigures = Pick<
  MetricsRecord,
  'step' | 'tokens' | 'loss' | 'l0' | 'explained_variance' | 'dead_fraction'
>;

/** Relative distance from its target at which L0 gives a warning; the SAE is as usable as any other with that L0. */
const NEAR_TARGET = 0.1;

/** Above this share of dead features, a tenth of the dictionary does all the work. */
const MOSTLY_DEAD = 0.9;

/**
 * Problems of an SAE, judged by its last training figures; docs/explanation/training.md explains the thresholds. They
 * are far from what any usable SAE has, so that a warning means something.
 */
export function faultsOf(
  { l0, explained_variance: explained, dead_fraction: dead }: LastFigures,
  { dIn, dSae }: { readonly dIn: number; readonly dSae: number },
): Fault[] {
  const faults: Fault[] = [];
  const dense = Math.min(dIn, dSae / 2);
  if (l0 < 1) {
    faults.push({
      kind: 'silent',
      message: `L0 is ${significant(l0, 3)}: fewer than one feature fires per activation, so the reconstruction is little more than b_dec.`,
      remedy: 'Use a smaller --l1; if the loss jumps in metrics.jsonl, a smaller --lr.',
    });
  }
  if (explained < 0) {
    faults.push({
      kind: 'worse-than-mean',
      message: `Explained variance is ${significant(explained, 3)}: the mean activation would be a better reconstruction.`,
      remedy: 'Use a smaller --lr, or train on more --tokens.',
    });
  }
  if (dead > MOSTLY_DEAD) {
    faults.push({
      kind: 'dead',
      message: `${wholePercent(dead)} of the features are dead.`,
      remedy: 'Use a smaller --l1 or --lr, a longer --l1-warmup, or --resample-at.',
    });
  }
  if (l0 > dense) {
    faults.push({
      kind: 'not-sparse',
      message: `L0 is ${significant(l0, 3)}, more than ${dense === dIn ? `d_in (${dIn})` : `half of d_sae (${dSae})`}: the code is not sparse.`,
      remedy: 'Use a larger --l1, or train on more --tokens.',
    });
  }
  return faults;
}

/**
 * Reports the last figures of a finished run, and warns if they are useless.
 *
 * @param directory of the SAE
 * @param name of the run, if several are trained together
 */
export async function reportVerdict(directory: string, progress: Progress, name?: string): Promise<Fault[]> {
  const { dIn, dSae, cfg } = await openSae(directory, 'transcoder');
  const { final, l0: target } = trainingRecordOf(cfg);
  if (!final) return [];
  const faults = faultsOf(final, { dIn, dSae });
  const { step, tokens, loss, l0, explained_variance, dead_fraction } = final;
  const figures = { step, tokens, loss, l0, explained_variance, dead_fraction };
  progress.tell('result', `${name ?? directory}: ${inWords(final)}`, { out: directory, ...figures });
  for (const { kind, message, remedy } of faults) {
    progress.tell('warning', `Warning: ${name ?? directory}: ${message} ${remedy}`, {
      out: directory,
      ...{ kind, message, remedy },
    });
  }
  if (target !== undefined && Math.abs(l0 / target - 1) > NEAR_TARGET) {
    const message = `L0 is ${significant(l0, 3)}, but --l0 is ${target}.`;
    const remedy = 'Train on more --tokens, or start from another --l1.';
    progress.tell('warning', `Warning: ${name ?? directory}: ${message} ${remedy}`, {
      out: directory,
      ...{ kind: 'off-target', message, remedy },
    });
  }
  return faults;
}

function inWords({ step, tokens, l0, explained_variance: explained, dead_fraction: dead }: LastFigures): string {
  const parts = [
    `L0 ${significant(l0, 3)}`,
    `explained variance ${Number.isNaN(explained) ? 'not defined' : explained.toFixed(3)}`,
    `dead features ${Number.isNaN(dead) ? 'not known yet (shorter than --dead-window)' : wholePercent(dead)}`,
  ];
  return `${parts.join(', ')} after step ${step} (${shortCount(tokens)} activations).`;
}

const wholePercent = (share: number) => `${(100 * share).toFixed(1)} %`;
