import type { ActivationArray } from '../activations/arrow-files.js';
import { widen } from '../activations/widen.js';
import { Refusal } from '../config/refusal.js';
import type { StepMetrics, StepSettings } from './engines/engine.js';

/** Where a run stands when its numbers go wrong. */
export interface Standing {
  /** Steps done, the one that went wrong included. */
  readonly step: number;
  /** Name of the newest checkpoint in --out. */
  readonly checkpoint: string | undefined;
}

/** @throws Refusal when the loss of a step is NaN or infinite */
export async function checkLoss(
  { mse, l1, aux }: StepMetrics,
  batch: ActivationArray,
  { lr }: StepSettings,
  standing: () => Promise<Standing>,
): Promise<void> {
  const loss = mse + l1 + aux;
  if (Number.isFinite(loss)) return;
  const at = await standing();
  const data = `the largest activation of its batch is ${short(largestOf(batch))}`;
  throw new Refusal(`The loss is ${loss} at step ${at.step} (learning rate ${short(lr)}; ${data}).`, remedy(at));
}

/** The refusal of a step that left a state which no further step can mend. */
export function poisoned(what: string, lr: number | undefined, at: Standing): Refusal {
  const rate = lr === undefined ? '' : ` (learning rate ${short(lr)})`;
  return new Refusal(`After step ${at.step}${rate}, ${what}.`, remedy(at));
}

/** The learning rate is one of the settings that a run keeps, and the same settings take the same steps. */
function remedy({ checkpoint }: Standing): string {
  const kept =
    checkpoint === undefined
      ? 'no checkpoint had been written.'
      : `${checkpoint} is kept, but --resume takes the same settings and comes to the same step.`;
  return `Train again with a smaller --lr, into another --out or with --overwrite; ${kept}`;
}

/** The largest |entry| of a batch, which is float16 bits or float32. */
function largestOf(batch: ActivationArray): number {
  return widen(batch, 'float16').reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
}

const short = (value: number) => String(Number(value.toPrecision(3)));
