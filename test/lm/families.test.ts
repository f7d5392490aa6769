import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { readFloats } from '../../src/safetensors/floats.js';
import { temporaryDirectory } from '../temporary.js';
import { matches } from './matches.js';
import { integerWeights, openRandomModel, RANDOM_GEMMAS, RANDOM_MODELS, writeCheckpoint } from './random-model.js';

const root = temporaryDirectory();

for (const name of RANDOM_MODELS) {
  const model = await openRandomModel(name);

  // How weights lie in files is the same for every family: Gemma stands for all of them.
  const isGemma = RANDOM_GEMMAS.some((gemma) => gemma === name);
  for (const dtype of isGemma ? (['F32', 'F16', 'BF16'] as const) : (['F32', 'BF16'] as const)) {
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
    const tolerance = /^gemma[23]?-/.test(name) ? 2e-2 : 6e-2;
    await matches(checkpoint, model, { tolerance, placement: { device: 'cpu', precision: 'float16' } });
  });

  // How files are found does not depend on the family.
  if (!isGemma) continue;
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
