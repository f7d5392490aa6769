import type { Batch } from '../activations/activation-source.js';
import type { ActivationDType } from '../activations/manifest.js';
import type { ActivationArray } from '../activations/rows.js';
import { Refusal } from '../errors/refusal.js';
import { significant } from '../progress/progress.js';
import { firstNotFinite, widen } from '../safetensors/floats.js';
import type { StepMetrics, StepSettings } from './engines/engine.js';

/** Progress of a run when its numbers become invalid. */
export interface FailedStep {
  /** Steps done, including the failed one. */
  readonly step: number;
  /** Name of the newest checkpoint in --out. */
  readonly checkpoint: string | undefined;
}

/**
 * @param dtype of the batch
 * @throws Refusal if the loss of a step is NaN or infinite
 */
export async function checkLoss(
  { mse, l1, aux }: StepMetrics,
  batch: Batch,
  dtype: ActivationDType,
  { lr }: StepSettings,
  failedStep: () => Promise<FailedStep>,
): Promise<void> {
  const loss = mse + l1 + aux;
  if (Number.isFinite(loss)) return;
  const at = await failedStep();
  const data = `the largest activation of its batch is ${significant(largestOf(batch, dtype), 3)}`;
  throw new Refusal(
    `The loss is ${loss} at step ${at.step} (learning rate ${significant(lr, 3)}; ${data}).`,
    remedy(at),
    'train/not-finite',
  );
}

/** The error for a step that left an invalid state, which later steps cannot repair. */
export function refusalOfBroken(what: string, lr: number | undefined, at: FailedStep): Refusal {
  const rate = lr === undefined ? '' : ` (learning rate ${significant(lr, 3)})`;
  return new Refusal(`After step ${at.step}${rate}, ${what}.`, remedy(at), 'train/not-finite');
}

/** The learning rate is fixed within a run, and the same settings would take the same steps. */
function remedy({ checkpoint }: FailedStep): string {
  const kept =
    checkpoint === undefined
      ? 'no checkpoint had been written.'
      : `${checkpoint} is kept, but --resume uses the same settings and would reach the same step.`;
  return `Train again with a smaller --lr, into another --out or with --overwrite; ${kept}`;
}

/** The largest |entry| of a batch. */
function largestOf({ x, y }: Batch, dtype: ActivationDType): number {
  const largest = (values: ActivationArray) =>
    widen(values, dtype).reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return y ? Math.max(largest(x), largest(y)) : largest(x);
}

/**
 * A description of what is permanently wrong in a state; undefined if nothing is. Exact: every number is checked, which
 * takes less time than writing them.
 *
 * @param state parameters, or an engine's complete state
 * @param rowLength of W_dec
 * @param unitRows whether the rows of W_dec have norm 1: a zero row, left by an overflowing norm, does not
 */
export function findBroken(
  state: ReadonlyMap<string, Float32Array>,
  rowLength: number,
  unitRows: boolean,
): string | undefined {
  for (const [name, values] of state) {
    const at = firstNotFinite(values, 'float32');
    if (at >= 0) return `${name} contains ${values[at]} (entry ${at})`;
  }
  // r_mag is only used as exp(r_mag).
  const r = state.get('r_mag')?.findIndex((value) => Math.fround(Math.exp(value)) === Number.POSITIVE_INFINITY) ?? -1;
  if (r >= 0) return `exp(r_mag) of feature ${r} overflows`;
  const zero = unitRows ? zeroRow(state.get('W_dec'), rowLength) : -1;
  return zero >= 0 ? `row ${zero} of W_dec is zero` : undefined;
}

/** The first row of zeros; −1 if there is none. */
function zeroRow(matrix: Float32Array | undefined, d: number): number {
  if (!matrix) return -1;
  for (let row = 0; row < matrix.length / d; row++) {
    let i = row * d;
    while (i < (row + 1) * d && matrix[i] === 0) i++;
    if (i === (row + 1) * d) return row;
  }
  return -1;
}
