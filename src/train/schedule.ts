import { UsageRefusal } from '../config/refusal.js';
import type { TrainConfig } from '../config/stages.js';
import type { StepSettings } from './engines/engine.js';

/** Learning rate and λ of every step of a run. */
export interface Schedule {
  readonly steps: number;
  /** Steps over which the learning rate rises, as capped. */
  readonly warmup: number;
  /** The last steps, over which it falls; 0 where it stays. */
  readonly decaySteps: number;
  /**
   * Learning rate and λ of step `step`, counted from 0.
   *
   * @param l1 λ after its warm-up, in the engines' convention
   * @param resampled steps after which features were resampled; where none was dead, nothing has to recover
   */
  at(step: number, l1: number, resampled?: readonly number[]): StepSettings;
}

type ScheduleConfig = Pick<
  TrainConfig,
  'lr' | 'warmup' | 'lrDecay' | 'decaySteps' | 'lrEnd' | 'l1Warmup' | 'resampleAt' | 'resampleWarmup'
>;

/** Warm-up may take at most this share of a run: short runs would never reach their learning rate. */
const LONGEST_WARMUP = 0.1;
/** Share of the learning rate with which training goes on after dead features were resampled (paper, appendix D). */
const AFTER_RESAMPLING = 0.1;

/**
 * The learning rate rises linearly, stays or falls, and drops to a tenth whenever dead features are resampled, from
 * where a cosine brings it back; λ rises linearly and stays (paper, appendix D).
 *
 * @throws UsageRefusal where the parts do not fit the number of steps
 */
export function schedule(config: ScheduleConfig, steps: number): Schedule {
  checkSchedule(config, steps);
  return planned(config, steps);
}

/**
 * @param first steps that the run was to have when it began
 * @throws UsageRefusal where the parts of a schedule do not fit the number of steps
 */
export function checkSchedule(config: ScheduleConfig, steps: number, first = steps): void {
  const { warmup, decaySteps } = planned(config, steps, first);
  const late = config.resampleAt.find((step) => step >= steps);
  if (late !== undefined) {
    throw new UsageRefusal(
      `--resample-at ${late} is not before the end of ${steps} steps.`,
      'Resample earlier, or train longer.',
    );
  }
  if (decaySteps > steps - warmup) {
    throw new UsageRefusal(
      `--decay-steps ${decaySteps} and a warm-up of ${warmup} are more than ${steps} steps.`,
      'Use fewer.',
    );
  }
}

/** The schedule, unchecked; `first` as for checkSchedule. */
export function planned(config: ScheduleConfig, steps: number, first = steps): Schedule {
  const { lr, lrDecay, lrEnd, l1Warmup, resampleWarmup } = config;
  const warmup = Math.min(config.warmup, Math.floor(first * LONGEST_WARMUP));
  const decaySteps = lrDecay === 'constant' ? 0 : (config.decaySteps ?? steps - warmup);

  /** 1 before the fall, lrEnd in the last step. */
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
