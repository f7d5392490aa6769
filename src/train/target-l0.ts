import { z } from 'zod';
import type { TrainConfig } from '../config/stages/train.js';
import { UsageRefusal } from '../errors/refusal.js';
import { significant } from '../progress/progress.js';
import type { Schedule, SparsityCoefficient } from './schedule.js';

/** What a checkpoint keeps of the adjustment of λ. */
export const adjustmentSchema = z.object({
  /** log of λ over what it began with. */
  log: z.number(),
  /** log(L0 / target), smoothed; null before the first step that counts. */
  error: z.number().nullable(),
  /** What log λ moves by in each step because it has been moving. */
  drift: z.number(),
});
export type Adjustment = Readonly<z.infer<typeof adjustmentSchema>>;

/** Share of the run, its end, in which λ stays as it was found. */
const FIXED_SHARE = 0.1;
/** Time constant of the adjustment: a share of the run, */
const HORIZON_SHARE = 1 / 20;
/** … but no shorter than it takes Adam to move a bias by so much, which is how features close, */
const HORIZON_WAY = 0.04;
/** … nor longer than this share of the run. */
const LONGEST_HORIZON = 1 / 5;
/** Share of the time constant over which L0 is smoothed. */
const SMOOTHING = 1 / 5;
/** Time constants over which a lasting drift of λ is learned. */
const DRIFT_HORIZONS = 10;
/** Errors above this (in log L0) are a run's beginning, from which no drift is learned. */
const SETTLING = 0.5;
/** λ moves by a factor of e in one time constant at most: a larger λ closes features for good. */
const FASTEST = 1;
/** An L0 below this share of the target counts as this share. */
const LEAST_SHARE = 1 / 20;
/** λ stays within a factor of e to this of where it began. */
const REACH = 30;

/** Which steps adjust λ, and how quickly. */
interface Window {
  /** The first step, from 0, whose L0 counts. */
  readonly first: number;
  /** The first step that λ no longer changes before. */
  readonly end: number;
  /** Time constant in steps. */
  readonly horizon: number;
}

/**
 * Adjusts λ while training so that L0 meets a target: a controller of log λ by the error log(L0 / target), proportional
 * and integral, with a second integral for the drift that λ needs as features specialise. In its velocity form, with T
 * the time constant and e the smoothed error: log λ rises in each step by (e + T de/dt) / T, cut off at ± 1/T, plus the
 * drift. It waits until the warm-ups are over, and leaves λ alone in the last tenth of the steps.
 */
export class TargetL0 {
  readonly window: Window;
  private now: Adjustment;

  /**
   * @param begin λ to begin with
   * @param before what a checkpoint kept
   */
  constructor(
    private readonly target: number,
    private readonly begin: number,
    window: Window,
    before?: Adjustment,
  ) {
    this.window = window;
    this.now = before ?? { log: 0, error: null, drift: 0 };
  }

  /** λ of the next step, but for its warm-up; in the engines' convention. */
  get lambda(): number {
    return this.begin * Math.exp(this.now.log);
  }

  /** What a checkpoint keeps. */
  get state(): Adjustment {
    return this.now;
  }

  /** One sentence for whoever watches. */
  get sentence(): string {
    const { first, end } = this.window;
    return `λ is adjusted in steps ${first + 1} to ${end} until L0 is ${significant(this.target, 4)}, and stays as it then is.`;
  }

  /**
   * Takes note of a step.
   *
   * @param step counted from 0
   * @param l0 mean number of features per token in its batch
   */
  observe(step: number, l0: number): void {
    const { first, end, horizon } = this.window;
    if (step < first || step >= end) return;
    const raw = Math.log(Math.max(l0 / this.target, LEAST_SHARE));
    const smoothing = Math.max(1, SMOOTHING * horizon);
    const before = this.now.error ?? raw;
    const error = before + (raw - before) / smoothing;
    // The smoothed error's slope looks ahead by one time constant: λ stays where L0 comes down by itself.
    const ahead = error + horizon * (error - before);
    const force = Math.max(-FASTEST, Math.min(FASTEST, ahead));
    const learned = Math.abs(error) < SETTLING ? force / (DRIFT_HORIZONS * horizon * horizon) : 0;
    const drift = this.now.drift + learned;
    const log = Math.max(-REACH, Math.min(REACH, this.now.log + force / horizon + drift));
    this.now = { log, error, drift };
  }
}

/** The steps in which λ is adjusted, and how quickly. */
export function adjustmentWindow(
  { lr, l1Warmup }: Pick<TrainConfig, 'lr' | 'l1Warmup'>,
  { steps, warmup }: Pick<Schedule, 'steps' | 'warmup'>,
): Window {
  return {
    first: Math.max(warmup, l1Warmup),
    end: Math.floor(steps * (1 - FIXED_SHARE)),
    horizon: Math.max(1, Math.min(steps * LONGEST_HORIZON, Math.max(steps * HORIZON_SHARE, HORIZON_WAY / lr))),
  };
}

/** Fewer cannot lead anywhere. */
const FEWEST_STEPS = 10;

/**
 * What adjusts λ in a run.
 *
 * @param begin λ of --l1, in the engines' convention
 * @param before what a checkpoint kept
 * @throws UsageRefusal if λ cannot be adjusted to --l0
 */
export function adjustment(
  config: Pick<TrainConfig, 'lr' | 'l1Warmup' | 'l0'>,
  plan: Pick<Schedule, 'steps' | 'warmup'>,
  begin: Pick<SparsityCoefficient, 'value'>,
  before?: Adjustment,
): TargetL0 {
  if (begin.value === 0) {
    throw new UsageRefusal('--l0 adjusts λ from --l1 on, and that is 0.', 'Use a larger --l1.', 'train/l0');
  }
  const window = adjustmentWindow(config, plan);
  const { first, end } = window;
  if (first < plan.steps / 2 && end - first >= FEWEST_STEPS)
    return new TargetL0(config.l0!, begin.value, window, before);
  throw new UsageRefusal(
    `--l0 adjusts λ between the warm-ups and the last tenth of ${plan.steps} steps, and that leaves ${Math.max(0, end - first)} of them.`,
    'Train longer, or use a smaller --l1-warmup.',
    'train/l0',
  );
}
