import { join } from 'node:path';
import { z } from 'zod';
import { JsonLines, trimJsonLines } from '../disk/growing-file.js';
import { METRICS_FILE, type MetricsLine } from '../sae/training-curve.js';
import type { EngineSettings, StepMetrics } from './engines/engine.js';
import { deadKnownFrom } from './schedule.js';

/** Sums over the steps since the last line; part of a checkpoint, so that a resumed run writes the same lines. */
export const metricSums = z.object({
  steps: z.number().nonnegative(),
  mse: z.number(),
  l1: z.number(),
  aux: z.number(),
  l0: z.number(),
  variance: z.number(),
  resampled: z.number(),
});
export type MetricSums = z.infer<typeof metricSums>;

const zero = (): MetricSums => ({ steps: 0, mse: 0, l1: 0, aux: 0, l0: 0, variance: 0, resampled: 0 });

/** Accumulates step metrics into lines of metrics.jsonl. */
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

  /** Records that `features` dead features were resampled. */
  resampled(features: number): void {
    this.sums.resampled += features;
  }

  /** Contents for a checkpoint. */
  state(): MetricSums {
    return { ...this.sums };
  }

  /**
   * The line after `step` steps; starts the next one.
   *
   * @param lambda at the step, if it is adjusted
   */
  line(step: number, last: StepMetrics, lr: number, lambda?: number): MetricsLine {
    const { steps, mse, l1, aux, l0, variance, resampled } = this.sums;
    const { batch, dSae } = this.settings;
    const seconds = (performance.now() - this.since) / 1000;
    const written: MetricsLine = {
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
      lambda,
      resampled: resampled > 0 ? resampled : undefined,
      // Clocks are never that coarse twice, but JSON has no NaN and infinities.
      tokens_per_second: Math.round((this.stepsTimed * batch) / Math.max(seconds, 1e-6)),
    };
    this.sums = zero();
    this.since = performance.now();
    this.stepsTimed = 0;
    return written;
  }
}

/** L0 and explained variance of a line, for the terminal during a run; empty before its first line. */
export function l0AndVariance(line: MetricsLine | undefined): string {
  if (!line) return '';
  const decimals = (value: number | null, digits: number) => value?.toFixed(digits) ?? '–';
  return `L0 ${decimals(line.l0, 1)} · EV ${decimals(line.explained_variance, 3)}`;
}

/**
 * Opens a run's curve to continue it after `steps` steps; later lines are dropped. A curve that ends before its
 * checkpoint (after a power failure, or if truncated) is continued anyway, and the gap is reported.
 */
export async function openCurve(
  directory: string,
  steps: number,
  logEvery: number,
  say: (line: string) => void,
): Promise<JsonLines<MetricsLine>> {
  const curve = await JsonLines.open<MetricsLine>(join(directory, METRICS_FILE), {
    keep: (line) => line.step <= steps,
  });
  const last = curve.last?.step ?? 0;
  if (last + logEvery <= steps) {
    say(
      `${METRICS_FILE} ends at step ${last}, but the checkpoint is from step ${steps}: the lines in between are lost, so the curve has a gap. The SAE is not affected.`,
    );
  }
  return curve;
}

/** Drops lines of steps that a finished SAE does not have. */
export function endCurve(directory: string, steps: number): Promise<void> {
  return trimJsonLines<MetricsLine>(join(directory, METRICS_FILE), (line) => line.step <= steps);
}
