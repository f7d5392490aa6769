import { z } from 'zod';
import type { TrainConfig } from '../config/stages/train.js';
import { UsageRefusal } from '../errors/refusal.js';
import { significant } from '../progress/progress.js';
import type { Schedule, SparsityCoefficient } from './schedule.js';

/** State of the adjustment of λ in a checkpoint. */
export const adjustmentSchema = z.object({
  /** log of λ relative to its initial value. */
  log: z.number(),
  /** log(L0 / target), smoothed; null before the first step that counts. */
  error: z.number().nullable(),
  /** Learned drift: change of log λ per step in addition to the controller's. */
  drift: z.number(),
});
export type Adjustment = Readonly<z.infer<typeof adjustmentSchema>>;

/** Final share of the run in which λ stays constant. */
const FIXED_SHARE = 0.1;
/** Time constant of the adjustment: a share of the run, */
const HORIZON_SHARE = 1 / 20;
/** … but at least the time Adam takes to move a bias by this much, which is how features close, */
const HORIZON_WAY = 0.04;
/** … and at most this share of the run. */
const LONGEST_HORIZON = 1 / 5;
/** Share of the time constant over which L0 is smoothed. */
const SMOOTHING = 1 / 5;
/** Number of time constants over which a lasting drift of λ is learned. */
const DRIFT_HORIZONS = 10;
/** Errors above this (in log L0) belong to a run's beginning, from which no drift is learned. */
const SETTLING = 0.5;
/** λ moves by at most a factor of e per time constant: too large a λ closes features permanently. */
const FASTEST = 1;
/** An L0 below this share of the target counts as this share. */
const LEAST_SHARE = 1 / 20;
/** λ stays within a factor of e to this power of its initial value. */
const REACH = 30;

/** The steps in which λ is adjusted, and how fast. */
interface Window {
  /** The first step (from 0) whose L0 counts. */
  readonly first: number;
  /** The first step from which λ is constant. */
  readonly end: number;
  /** Time constant in steps. */
  readonly horizon: number;
}

/**
 * Adjusts λ during training so that L0 meets a target: a PI controller of log λ with the error log(L0 / target), with a
 * second integral for the drift that λ needs as features specialise. In velocity form, with T the time constant and e
 * the smoothed error: log λ rises in each step by (e + T de/dt) / T, clamped to ± 1/T, plus the drift. It waits until
 * the warm-ups are over, and keeps λ constant in the last tenth of the steps.
 */
export class TargetL0 {
  readonly window: Window;
  private now: Adjustment;

  /**
   * @param begin initial λ
   * @param before state from a checkpoint
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

  /** λ of the next step, apart from its warm-up; in the engines' convention. */
  get lambda(): number {
    return this.begin * Math.exp(this.now.log);
  }

  /** State for a checkpoint. */
  get state(): Adjustment {
    return this.now;
  }

  /** One sentence for the log. */
  get sentence(): string {
    const { first, end } = this.window;
    return `λ is adjusted in steps ${first + 1} to ${end} until L0 is ${significant(this.target, 4)}, and constant afterwards.`;
  }

  /**
   * Records a step.
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
    // The smoothed error's slope extrapolates by one time constant: λ stays if L0 is already falling.
    const ahead = error + horizon * (error - before);
    const force = Math.max(-FASTEST, Math.min(FASTEST, ahead));
    const learned = Math.abs(error) < SETTLING ? force / (DRIFT_HORIZONS * horizon * horizon) : 0;
    const drift = this.now.drift + learned;
    const log = Math.max(-REACH, Math.min(REACH, this.now.log + force / horizon + drift));
    this.now = { log, error, drift };
  }
}

/** The steps in which λ is adjusted, and how fast. */
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

/** With fewer steps, adjustment is pointless. */
const FEWEST_STEPS = 10;

/**
 * Adjusts λ in a run.
 *
 * @param begin λ of --l1, in the engines' convention
 * @param before state from a checkpoint
 * @throws UsageRefusal if λ cannot be adjusted to --l0
 */
export function adjustment(
  config: Pick<TrainConfig, 'lr' | 'l1Warmup' | 'l0'>,
  plan: Pick<Schedule, 'steps' | 'warmup'>,
  begin: Pick<SparsityCoefficient, 'value'>,
  before?: Adjustment,
): TargetL0 {
  if (begin.value === 0) {
    throw new UsageRefusal('--l0 adjusts λ starting from --l1, which is 0.', 'Use a larger --l1.', 'train/l0');
  }
  const window = adjustmentWindow(config, plan);
  const { first, end } = window;
  if (first < plan.steps / 2 && end - first >= FEWEST_STEPS)
    return new TargetL0(config.l0!, begin.value, window, before);
  throw new UsageRefusal(
    `--l0 adjusts λ between the warm-ups and the last tenth of ${plan.steps} steps, which leaves only ${Math.max(0, end - first)} of them.`,
    'Train longer, or use a smaller --l1-warmup.',
    'train/l0',
  );
}
