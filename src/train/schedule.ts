import type { TrainConfig } from '../config/stages.js';
import type { StepSettings } from './engines/engine.js';

export interface Schedule {
  readonly steps: number;
  /** Steps over which the learning rate rises, as capped. */
  readonly warmup: number;
  /** Learning rate and λ of step `step`, counted from 0. */
  at(step: number): StepSettings;
}

/** Warm-up may take at most this share of a run: short runs would never reach their learning rate. */
const LONGEST_WARMUP = 0.1;

/** Learning rate and λ rise linearly over their warm-ups and then stay (paper, appendix D). */
export function schedule(config: Pick<TrainConfig, 'lr' | 'warmup' | 'l1' | 'l1Warmup'>, steps: number): Schedule {
  const warmup = Math.min(config.warmup, Math.floor(steps * LONGEST_WARMUP));
  return {
    steps,
    warmup,
    at: (step) => ({ lr: config.lr * ramp(step, warmup), l1: config.l1 * ramp(step, config.l1Warmup) }),
  };
}

/** 1/over at the first step, 1 from step `over` − 1 on. */
function ramp(step: number, over: number): number {
  return over === 0 ? 1 : Math.min(1, (step + 1) / over);
}
