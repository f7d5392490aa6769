import assert from 'node:assert/strict';
import type { Checkpoint } from '../../src/lm/checkpoint.js';
import type { Placement } from '../../src/lm/placement.js';
import { relativeDifference } from '../golden.js';
import type { OpenRandomModel } from './random-model.js';
import { nextTokenLosses, runHooks } from './run-model.js';

/** Losses and every hook are those of transformers, within `tolerance` of the largest entry. */
export async function matches(
  checkpoint: Checkpoint,
  { golden, hooks, tokens, context }: Pick<OpenRandomModel, 'golden' | 'hooks' | 'tokens' | 'context'>,
  { tolerance = 1e-4, placement }: { tolerance?: number; placement?: Placement } = {},
): Promise<void> {
  const nll = await nextTokenLosses(checkpoint, tokens, context, 10, placement);
  const expected = await golden.floats('nll');
  for (const [i, loss] of nll.entries()) {
    assert.ok(Math.abs(loss - expected[i]!) < tolerance * Math.max(1, expected[i]!), `nll ${loss}, not ${expected[i]}`);
  }
  const values = await runHooks(checkpoint, tokens.subarray(0, context), context, placement);
  const widths = new Map(checkpoint.config.hooks.map(({ name, width }) => [name, width]));
  assert.deepEqual([...values.keys()].sort(), [...hooks].sort());
  const positions = await golden.ints('positions');
  const norms = await golden.doubles('norms');
  for (const [i, name] of hooks.entries()) {
    const width = widths.get(name)!;
    const value = values.get(name)!;
    assert.equal(value.length, context * width, name);
    const sampled = [...positions].flatMap((t) => [...value.subarray(t * width, (t + 1) * width)]);
    const difference = relativeDifference(sampled, await golden.floats(name));
    assert.ok(difference < tolerance, `${name}: ${difference}`);
    // Positions that were not sampled are held by the norm over the whole context.
    const norm = Math.sqrt(value.reduce((sum, x) => sum + x * x, 0));
    assert.ok(Math.abs(norm / norms[i]! - 1) < tolerance, `norm of ${name}: ${norm}, not ${norms[i]}`);
  }
}
