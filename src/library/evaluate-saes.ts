import type { z } from 'zod';
import type { evalSchema } from '../config/stages/eval.js';
import { evaluateInMemory, evaluateOnce } from '../eval/evaluate.js';
import type { EvalRecord } from '../eval/record.js';
import { withOneHook } from '../lm/chosen-hooks.js';
import { progressOf, type RunOptions, stopOf } from './run-options.js';
import { configFromOptions } from './stage-options.js';

/**
 * Flags of `sae-pipe eval`, their names in camel case, with its defaults: see docs/reference/cli.md#eval. `sae`, `model` and
 * `corpus` are required; without `out`, nothing is written.
 */
export interface EvaluateOptions extends Omit<z.input<typeof evalSchema>, 'sae' | 'corpus' | 'out'> {
  /** SAEs as for `SAE.fromPretrained`; those at one hook share forward passes. */
  readonly sae: string | readonly string[];
  /** Files, directories or hub data sets (`hf:OWNER/DATASET`); several are mixed. */
  readonly corpus: string | readonly string[];
  /** Directory for eval.json, the input of `sae-pipe report`. */
  readonly out?: string;
}

/**
 * Splices SAEs into the model on held-out text and measures loss recovered, L0, KL, explained variance and more
 * (docs/reference/metrics.md), with units and 95 % intervals.
 *
 * @returns a record per SAE, in the order of `sae`
 * @throws Refusal for a problem that a user can fix, identified by its `code` (docs/reference/refusals.md)
 * @throws Interrupted if `signal` was aborted; nothing is kept
 */
export async function evaluateSAEs(options: EvaluateOptions, run: RunOptions = {}): Promise<readonly EvalRecord[]> {
  const [progress, stop] = [progressOf(run), stopOf(run)];
  const { out } = options;
  // The schema requires a directory; without one, none is touched.
  const config = await withOneHook(configFromOptions('eval', { ...options, out: out ?? '.' }), stop);
  return out === undefined ? evaluateInMemory(config, progress, stop) : evaluateOnce(config, progress, stop);
}
