import type { Manifest, NormLimit } from '../activations/manifest.js';
import { allocateRows, type Rows } from '../activations/rows.js';
import { medianOf } from '../activations/statistics.js';
import type { HarvestConfig } from '../config/stages/harvest.js';
import { batches, type Context, type LeftOut } from '../corpus/contexts.js';
import { Refusal, UsageRefusal } from '../errors/refusal.js';
import type { Hook } from '../lm/hooks.js';
import type { ForwardPass, PassResult } from './forward-pass.js';
import { partOf } from './part.js';

/** Number of positions at the start of the text over which the median norm is taken. */
const MEDIAN_ROWS = 16_384;

/** @throws UsageRefusal if rows of several hooks, or of several parts, would have to be left out together */
export function checkNormLimit(
  { maxActivationNormMultiple: multiple, shard }: Pick<HarvestConfig, 'maxActivationNormMultiple' | 'shard'>,
  hooks: readonly Hook[],
): void {
  if (multiple === undefined) return;
  if (partOf(shard)) {
    throw new UsageRefusal(
      '--max-activation-norm-multiple leaves positions out by their norms, and a part of a harvest does not know how many are left out of the other parts, which decides where --tokens ends.',
      'Omit it here and give it to train, which has the same rule.',
      'harvest/norm-limit',
    );
  }
  if (hooks.length === 1) return;
  throw new UsageRefusal(
    `--max-activation-norm-multiple leaves other positions out at every hook, but the rows of the ${hooks.length} hooks of one harvest must be the same positions.`,
    'Harvest one --hook at a time, or omit it here and give it to train.',
    'harvest/norm-limit',
  );
}

/**
 * The norm limit for a harvest's manifest: as the harvest was begun, or from the first positions of the text.
 *
 * @param contexts from the start of the text; closed at the end
 * @throws Refusal if the median is 0
 */
export async function withMedian(
  manifest: Manifest,
  pass: ForwardPass,
  leftOut: LeftOut,
  contexts: AsyncGenerator<Context>,
): Promise<Manifest> {
  const norms: number[] = [];
  try {
    for await (const group of batches(contexts, pass.contexts)) {
      const found = await pass.run(group, leftOut, MEDIAN_ROWS - norms.length);
      norms.push(...found.norms[0]!);
      pass.reuse?.(0, [found.rows[0]!.activation.buffer]);
      if (norms.length === MEDIAN_ROWS) break;
    }
  } finally {
    await contexts.return(undefined);
  }
  const median = norms.length === 0 ? 0 : medianOf(Float64Array.from(norms));
  if (median > 0) return { ...manifest, median_activation_norm: median };
  throw new Refusal(
    `The median norm at ${manifest.hook} is 0, which --max-activation-norm-multiple multiplies.`,
    'Omit it.',
    'harvest/norm-limit',
  );
}

/** The rows of a pass over one hook that are not too long, at most `most` of them. */
export function ordinaryRows(
  { rows, norms, contexts }: PassResult,
  { multiple, median }: NormLimit,
  most: number,
): PassResult & { readonly leftOut: number } {
  const [all, lengths] = [rows[0]!, norms[0]!];
  const kept: number[] = [];
  let at = 0;
  for (; at < lengths.length && kept.length < most; at++) if (lengths[at]! <= multiple * median) kept.push(at);
  // If a harvest has all its rows, its text ends with the last of them.
  const last = at < lengths.length ? all.context[kept.at(-1)!]! : Number.POSITIVE_INFINITY;
  return {
    rows: [picked(all, kept)],
    norms: [Float32Array.from(kept, (row) => lengths[row]!)],
    count: kept.length,
    contexts: contexts.filter(({ index }) => index <= last),
    leftOut: at - kept.length,
  };
}

function picked(rows: Rows, kept: readonly number[]): Rows {
  const d = rows.activation.length / Math.max(1, rows.token.length);
  const few = allocateRows(kept.length, d, rows.activation instanceof Float32Array ? 'float32' : 'float16');
  for (const [to, row] of kept.entries()) {
    (few.activation as Float32Array).set(rows.activation.subarray(row * d, (row + 1) * d) as Float32Array, to * d);
    few.token[to] = rows.token[row]!;
    few.context[to] = rows.context[row]!;
    few.pos[to] = rows.pos[row]!;
  }
  return few;
}
