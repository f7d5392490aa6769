import { UsageRefusal } from '../config/refusal.js';
import type { TrainConfig } from '../config/stages.js';

type DeadWindow = Pick<TrainConfig, 'deadWindow' | 'batch'>;

/**
 * Steps of a run after which it is known which features are dead. Before, no feature can have been silent for
 * --dead-window activations: fewer have been seen, and "none is dead" would be an artefact. A resumed run has its counts
 * in the checkpoint, so that steps count from the beginning of the run.
 */
export function deadKnownFrom({ deadWindow, batch }: DeadWindow): number {
  return Math.ceil(deadWindow / batch);
}

/** @throws UsageRefusal where dead features are to be resampled before any can be known */
export function checkResampleSteps({ resampleAt, ...window }: DeadWindow & Pick<TrainConfig, 'resampleAt'>): void {
  const from = deadKnownFrom(window);
  const early = resampleAt.find((step) => step < from);
  if (early === undefined) return;
  const { deadWindow, batch } = window;
  throw new UsageRefusal(
    `--resample-at ${early} comes before dead features are known: with --dead-window ${deadWindow} and --batch ${batch}, they are from step ${from} on.`,
    `Resample at step ${from} or later, or use a smaller --dead-window (at most ${early * batch} for step ${early}).`,
  );
}
