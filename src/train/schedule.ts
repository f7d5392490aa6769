import { USUAL_L1 } from '../config/stages/shared-flags.js';
import type { TrainConfig } from '../config/stages/train.js';
import { UsageRefusal } from '../errors/refusal.js';
import { significant } from '../progress/progress.js';
import type { StepSettings } from './engines/engine.js';

/** Learning rate and λ of every step of a run. */
export interface Schedule {
  readonly steps: number;
  /** Steps over which the learning rate rises, after capping. */
  readonly warmup: number;
  /** The last steps, over which it falls; 0 if it is constant. */
  readonly decaySteps: number;
  /** Steps over which λ rises. */
  readonly l1Warmup: number;
  /**
   * Learning rate and λ of step `step`, counted from 0.
   *
   * @param l1 λ after its warm-up, in the engines' convention
   * @param resampled steps after which features were resampled; without dead features, no recovery is needed
   */
  at(step: number, l1: number, resampled?: readonly number[]): StepSettings;
}

type ScheduleConfig = Pick<
  TrainConfig,
  'lr' | 'warmup' | 'lrDecay' | 'decaySteps' | 'lrEnd' | 'l1Warmup' | 'resampleAt' | 'resampleWarmup'
> &
  Partial<Pick<TrainConfig, 'l1WarmupShare' | 'decayShare'>>;

/** Max share of a run for its warm-up: otherwise short runs would never reach their learning rate. */
const LONGEST_WARMUP = 0.1;
/** Factor on the learning rate right after resampling dead features (paper, appendix D). */
const AFTER_RESAMPLING = 0.1;

/**
 * The learning rate rises linearly, stays or falls, and drops to a tenth whenever dead features are resampled, from
 * which a cosine restores it; λ rises linearly and stays (paper, appendix D).
 *
 * @throws UsageRefusal if the parts do not fit the number of steps
 */
export function schedule(config: ScheduleConfig, steps: number): Schedule {
  checkSchedule(config, steps);
  return planned(config, steps);
}

/**
 * @param first originally planned number of steps
 * @throws UsageRefusal if the parts of a schedule do not fit the number of steps
 */
export function checkSchedule(config: ScheduleConfig, steps: number, first = steps): void {
  checkShares(config);
  const { warmup, decaySteps } = planned(config, steps, first);
  const late = config.resampleAt.find((step) => step >= steps);
  if (late !== undefined) {
    throw new UsageRefusal(
      `--resample-at ${late} is not before the end of ${steps} steps.`,
      'Resample earlier, or train longer.',
      'train/resample-late',
    );
  }
  if (decaySteps > steps - warmup) {
    throw new UsageRefusal(
      `--decay-steps ${decaySteps} and a warm-up of ${warmup} are more than ${steps} steps.`,
      'Use fewer.',
      'train/schedule-too-long',
    );
  }
}

/** @throws UsageRefusal if a part is given both in steps and as a share, or a decay without a shape */
function checkShares({ lrDecay, decaySteps, decayShare, l1Warmup, l1WarmupShare }: ScheduleConfig): void {
  const refused = (cause: string, remedy: string) => new UsageRefusal(cause, remedy, 'train/schedule-share');
  if (l1WarmupShare !== undefined && l1Warmup > 0) {
    throw refused('--l1-warmup and --l1-warmup-share both set how long λ rises.', 'Give one of them.');
  }
  if (decayShare === undefined) return;
  if (decaySteps !== undefined) {
    throw refused('--decay-steps and --decay-share both set how long the learning rate falls.', 'Give one of them.');
  }
  if (lrDecay !== 'constant') return;
  throw refused(
    `--decay-share ${decayShare} sets how long the learning rate falls, but it is constant.`,
    'Add --lr-decay linear or cosine.',
  );
}

/** The schedule, unchecked; `first` as for checkSchedule. */
export function planned(config: ScheduleConfig, steps: number, first = steps): Schedule {
  const { lr, lrDecay, lrEnd, resampleWarmup, l1WarmupShare, decayShare } = config;
  const warmup = Math.min(config.warmup, Math.floor(first * LONGEST_WARMUP));
  const share = decayShare === undefined ? undefined : Math.round(decayShare * steps);
  const decaySteps = lrDecay === 'constant' ? 0 : (config.decaySteps ?? share ?? steps - warmup);
  // For a run being trained further, λ has already risen.
  const l1Warmup = l1WarmupShare === undefined ? config.l1Warmup : Math.round(l1WarmupShare * first);

  /** 1 before the decay, lrEnd in the last step. */
  const decay = (step: number) => {
    const done = step + 1 - (steps - decaySteps);
    if (lrDecay === 'constant' || done <= 0) return 1;
    const left = lrDecay === 'linear' ? 1 - done / decaySteps : cosine(1 - done / decaySteps);
    return lrEnd + (1 - lrEnd) * left;
  };
  /** A tenth in the first step after resampling, 1 from resampleWarmup steps on. */
  const recovery = (step: number, resampled: readonly number[]) => {
    const last = Math.max(...resampled.filter((at) => at <= step));
    if (step - last >= resampleWarmup) return 1;
    return AFTER_RESAMPLING + (1 - AFTER_RESAMPLING) * cosine((step - last) / resampleWarmup);
  };
  return {
    steps,
    warmup,
    decaySteps,
    l1Warmup,
    at: (step, l1, resampled = []) => ({
      lr: lr * ramp(step, warmup) * decay(step) * recovery(step, resampled),
      l1: l1 * ramp(step, l1Warmup),
    }),
  };
}

/** 1/over at the first step, 1 from step `over` − 1 on. */
function ramp(step: number, over: number): number {
  return over === 0 ? 1 : Math.min(1, (step + 1) / over);
}

/** Half a cosine, from 0 at 0 to 1 at 1. */
function cosine(part: number): number {
  return (1 - Math.cos(Math.PI * part)) / 2;
}

/** The quantities that convert λ between conventions. */
interface Scales {
  /** Width of the reconstruction, d. */
  readonly width: number;
  /** Its factor during training, s. */
  readonly scale: number;
  /** Its raw E|x|²; only needed with --l2-normalise. */
  readonly meanSquare: number | null;
  /** Is it a target rather than the input? */
  readonly target?: boolean;
  /** false: the penalty does not scale with the activations; then only --l1-convention sums makes sense. */
  readonly scales?: boolean;
  /** Does every dimension have its own factor? Then there is no λ for raw activations. */
  readonly perDimension?: boolean;
}

/** λ in the engines' convention, and its derivation. */
export interface SparsityCoefficient {
  /** Relative to |x − x̂|², a sum over d_in, of activations scaled by s. */
  readonly value: number;
  readonly sentence: string;
}

/** For a loss without a penalty. */
export const NO_PENALTY: SparsityCoefficient = { value: 0, sentence: 'The loss has no sparsity penalty.' };

/**
 * λ in the engines' convention: loss = |s·x − x̂|² + λ Σ, a sum over d_in, on activations scaled by s.
 *
 * With --l1-convention paper, --l1 is relative to |x − x̂|² / d_in on raw activations. Features of scaled activations
 * are s times as large, squared errors s² times, so λ = l1 · d_in · s. With --l2-normalise, squared errors are divided
 * by E|x|² (the paper's baseline; d_in cancels, as both are means over it): λ = l1 · E|x|² · s for the paper's --l1,
 * and l1 · E|s·x|² for one on normalised activations. The loss itself is not divided: Adam is invariant to its scale,
 * so multiplying λ instead gives the same steps. With a target, width, scale and norm are the target's.
 */
export function sparsityCoefficient(
  { l1 = USUAL_L1, l1Convention, l2Normalise }: Pick<TrainConfig, 'l1' | 'l1Convention' | 'l2Normalise'>,
  { width, scale, meanSquare, target = false, scales = true, perDimension = false }: Scales,
): SparsityCoefficient {
  if (l2Normalise && meanSquare === null) throw new Error('E|x|² is needed and was not estimated');
  const [d, x, what] = target ? ['d_out', 'y', 'targets'] : ['d_in', 'x', 'activations'];
  const factors: [name: string, value: number][] = [];
  if (l1Convention === 'paper') {
    factors.push(l2Normalise ? [`E|${x}|²`, meanSquare!] : [d, width]);
    if (scale !== 1) factors.push([target ? 'target scale' : 'activation scale', scale]);
  } else if (l2Normalise) {
    factors.push([`E|${x}|² of scaled ${what}`, meanSquare! * scale * scale]);
  }
  const value = factors.reduce((product, [, factor]) => product * factor, l1);
  const short = (n: number) => significant(n, 4);
  const product = [`--l1 ${short(l1)}`, ...factors.map(([name, factor]) => `${name} ${short(factor)}`)].join(' × ');
  const other = short(value / (width * scale));
  const paper =
    l1Convention === 'paper' || !scales || perDimension
      ? ''
      : `; in the paper's convention (means over ${d}, raw ${what}) ${other}`;
  const scaled = perDimension ? ` of ${what} whose dimensions have a standard deviation of 1` : ` of scaled ${what}`;
  const errors = `sums of squared errors${perDimension || scale !== 1 ? scaled : ''}`;
  return {
    value,
    sentence: `λ = ${factors.length > 0 ? `${product} = ` : ''}${short(value)} against ${errors}${paper}.`,
  };
}

type DeadWindow = Pick<TrainConfig, 'deadWindow' | 'batch'>;

/**
 * The step from which dead features are known. Before, no feature can have been silent for --dead-window activations:
 * fewer have been seen, and "none is dead" would be an artefact. A resumed run has its counts in the checkpoint, so
 * steps count from the start of the run.
 */
export function deadKnownFrom({ deadWindow, batch }: DeadWindow): number {
  return Math.ceil(deadWindow / batch);
}

/** @throws UsageRefusal if resampling comes before dead features are known */
export function checkResampleSteps({ resampleAt, ...window }: DeadWindow & Pick<TrainConfig, 'resampleAt'>): void {
  const from = deadKnownFrom(window);
  const early = resampleAt.find((step) => step < from);
  if (early === undefined) return;
  const { deadWindow, batch } = window;
  throw new UsageRefusal(
    `--resample-at ${early} comes before dead features are known: with --dead-window ${deadWindow} and --batch ${batch}, they are from step ${from} on.`,
    `Resample at step ${from} or later, or use a smaller --dead-window (at most ${early * batch} for step ${early}).`,
    'train/resample-early',
  );
}
