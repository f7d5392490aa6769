import { deadKnownFrom } from './dead-window.js';
import type { EngineSettings, StepMetrics } from './engines/engine.js';
import type { MetricsRecord } from './metrics-record.js';

/** Sums of the steps since the last line; part of a checkpoint, so that a resumed run writes the same lines. */
export interface MetricSums {
  steps: number;
  mse: number;
  l1: number;
  aux: number;
  l0: number;
  variance: number;
  resampled: number;
}

const zero = (): MetricSums => ({ steps: 0, mse: 0, l1: 0, aux: 0, l0: 0, variance: 0, resampled: 0 });

/** Gathers step metrics into lines of metrics.jsonl. */
export class MetricsLog {
  private since = performance.now();
  private stepsTimed = 0;

  constructor(
    private readonly settings: Pick<EngineSettings, 'dSae' | 'batch' | 'deadWindow'>,
    private sums: MetricSums = zero(),
  ) {}

  add(step: StepMetrics): void {
    this.sums.steps++;
    this.stepsTimed++;
    for (const key of ['mse', 'l1', 'aux', 'l0', 'variance'] as const) this.sums[key] += step[key];
  }

  /** `features` dead features were given new directions. */
  resampled(features: number): void {
    this.sums.resampled += features;
  }

  /** What a checkpoint keeps. */
  state(): MetricSums {
    return { ...this.sums };
  }

  /** The line after `step` steps; begins the next one. */
  line(step: number, last: StepMetrics, lr: number): MetricsRecord {
    const { steps, mse, l1, aux, l0, variance, resampled } = this.sums;
    const { batch, dSae } = this.settings;
    const seconds = (performance.now() - this.since) / 1000;
    const record: MetricsRecord = {
      step,
      tokens: step * batch,
      loss: (mse + l1 + aux) / steps,
      mse: mse / steps,
      l1: l1 / steps,
      aux: aux / steps,
      l0: l0 / steps,
      explained_variance: variance > 0 && Number.isFinite(variance) ? 1 - mse / variance : null,
      dead_fraction: step >= deadKnownFrom(this.settings) ? last.dead / dSae : null,
      lr,
      ...(resampled > 0 ? { resampled } : {}),
      // No clock is so coarse twice, but NaN and infinities are no JSON.
      tokens_per_second: Math.round((this.stepsTimed * batch) / Math.max(seconds, 1e-6)),
    };
    this.sums = zero();
    this.since = performance.now();
    this.stepsTimed = 0;
    return record;
  }
}
