import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { type Checkpoint, openCheckpoint } from '../../src/lm/checkpoint.js';
import type { Placement } from '../../src/lm/model-writer.js';
import { readFloats } from '../../src/safetensors/floats.js';
import { relativeDifference } from '../golden.js';
import { temporaryDirectory } from '../temporary.js';
import {
  integerWeights,
  type OpenRandomModel,
  openRandomModel,
  RANDOM_MODELS,
  writeCheckpoint,
} from './random-model.js';
import { nextTokenLosses, runHooks } from './run-model.js';

const root = temporaryDirectory();

/** Losses and every hook are those of transformers, within `tolerance` of the largest entry. */
async function matches(
  checkpoint: Checkpoint,
  { golden, hooks, tokens, context }: OpenRandomModel,
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

for (const name of RANDOM_MODELS) {
  const model = await openRandomModel(name);

  for (const dtype of ['F32', 'F16', 'BF16'] as const) {
    test(`${name} with ${dtype} weights: losses and all hooks equal transformers within 1e-4`, async () => {
      const checkpoint = await openCheckpoint(await writeCheckpoint(join(root, name, dtype), model, { dtype }));
      await matches(checkpoint, model);
    });
  }

  test(`${name}: the other attention operator computes the same`, async () => {
    const checkpoint = await openCheckpoint(join(root, name, 'F32'));
    await matches(checkpoint, model, { placement: { device: 'webgpu', precision: 'float32' } });
  });

  test(`${name}: float16 products stay near float32`, async () => {
    const checkpoint = await openCheckpoint(join(root, name, 'BF16'));
    // Norm weights up to 2 make attention sharper, and its roundings larger.
    const tolerance = name.startsWith('gemma') ? 2e-2 : 6e-2;
    await matches(checkpoint, model, { tolerance, placement: { device: 'cpu', precision: 'float16' } });
  });

  test(`${name}: a sharded checkpoint is the same model`, async () => {
    const checkpoint = await openCheckpoint(await writeCheckpoint(join(root, name, 'sharded'), model, { shards: 3 }));
    await matches(checkpoint, model);
  });
}

test('the weights of the test models are exact in every element type', async () => {
  const model = await openRandomModel('gemma3-gqa');
  for (const dtype of ['F32', 'F16', 'BF16'] as const) {
    const { tensors } = await openCheckpoint(join(root, 'gemma3-gqa', dtype));
    const location = tensors.get('layers.5.self_attn.q_proj.weight')!;
    assert.equal(location.dtype, dtype);
    const full = 'language_model.model.layers.5.self_attn.q_proj.weight';
    const count = model.shapes[full]!.reduce((a, b) => a * b, 1);
    const expected = integerWeights(full, count, model.config.model_type);
    assert.deepEqual(await readFloats(location), expected);
  }
});
