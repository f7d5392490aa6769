import assert from 'node:assert/strict';
import { test } from 'node:test';
import { doctorSchema } from '../../src/config/stages/machine.js';
import { trainSchema } from '../../src/config/stages/train.js';
import { harvestNeeds, modelWeights, trainingNeeds } from '../../src/doctor/needs.js';
import { activationMemory, openForwardPass } from '../../src/harvest/forward-pass.js';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { findHook } from '../../src/lm/hooks.js';
import { trainingMemory } from '../../src/train/open-run.js';
import { engineSettings } from '../../src/train/run-settings.js';

const checkpoint = await openCheckpoint('assets/tiny-gemma');
const hook = findHook('blocks.2.hook_resid_post', checkpoint.config);
// Of config.json: 4096 tokens, d_model 192, 4 heads of 64, d_ff 768; bfloat16.
const EMBEDDING = 4096 * 192;
const BLOCK = 4 * 192 * 256 + 3 * 192 * 768 + 2 * 192;

test('weights are counted as the open session holds them', () => {
  const config = { ...doctorSchema.parse({ model: '-' }), dtype: 'bfloat16' } as const;
  // Blocks 0 to 2 as float32; the embedding is gathered from as it is stored.
  const blocks = 3 * BLOCK;
  assert.equal(harvestNeeds(checkpoint, [hook], 256, config).weights, 4 * blocks + 2 * EMBEDDING);
  const whole = modelWeights(checkpoint, { device: 'cpu', precision: 'float32' });
  assert.equal(whole.parameters, 4 * BLOCK + 192 + EMBEDDING);
  // The tied unembedding is the embedding again, as float32.
  assert.equal(whole.bytes, 4 * (4 * BLOCK + 192 + EMBEDDING) + 2 * EMBEDDING);
});

test('a store takes a row of activation, token, context and position for each token and hook', () => {
  const mlp = findHook('blocks.0.mlp.hook_post', checkpoint.config);
  const needs = (tokens?: number, dtype: 'bfloat16' | 'float32' = 'bfloat16') =>
    harvestNeeds(checkpoint, [hook, mlp], 256, { ...doctorSchema.parse({ model: '-', tokens }), dtype });
  assert.equal(needs(1_000_000).store, 1e6 * (192 * 2 + 12 + 768 * 2 + 12));
  assert.equal(needs(1_000_000, 'float32').store, 1e6 * (192 * 4 + 12 + 768 * 4 + 12));
  assert.equal(needs().store, null);
  assert.equal(needs(100).window, 100 * (192 * 2 + 12 + 768 * 2 + 12));
  assert.ok(needs(1e15).window <= 4 * 2 ** 30 * 1.01);
});

test('doctor counts the memory that train requires', () => {
  for (const arch of ['gated', 'standard'] as const) {
    const doctor = { arch, dtype: 'float16', tokens: 5000, threads: 2 } as const;
    const { parameters, state, memory } = trainingNeeds({ ...doctor, device: 'cpu' }, 192, 1000);
    const biases = arch === 'gated' ? 3 : 1;
    assert.equal(parameters, 2 * 192 * 1000 + 192 + biases * 1000);
    assert.equal(state, 4 * (2 * parameters + 1000));
    assert.ok(memory > state);
    const cuda = trainingNeeds({ ...doctor, device: 'cuda' }, 192, 1000);
    // The reference engine: two states, 8 values as large as a matrix, 20 of a batch's features, 8 of its activations.
    assert.equal(cuda.parts.engine, 2 * state + 4 * (8 * 192 * 1000 + 20 * 4096 * 1000 + 8 * 4096 * 192));
  }
});

test('training counts the sample that it begins with, up to the rows there are, and the batch without long rows', () => {
  const settings = { arch: 'standard', dtype: 'float16', device: 'cpu', threads: 1 } as const;
  const samples = [5000, 1e6].map((tokens) => trainingNeeds({ ...settings, tokens }, 192, 256).parts.sample!);
  assert.deepEqual(samples, [2 * 4 * 5000 * 192, 2 * 4 * 65_536 * 192]);
  const about = { meanNorm: 1, rows: 1e6 };
  const held = 2 ** 30;
  const parts = (more: object, source: object = about, pool = held) => {
    const config = trainSchema.parse({ activations: '-', out: '-', dSae: 256, batch: 512, threads: 1, ...more });
    const memory = () => ({ held: pool, pieceRows: 1000 });
    const known = { about: source as typeof about, memory };
    return trainingMemory(config, engineSettings(config, { dIn: 192, dtype: 'float16' }), 'sparse', known);
  };
  const batch = 4 * 512 * 192;
  // Two batches, and one without what is too long.
  assert.equal(parts({}).rows, held + 3 * batch);
  assert.equal(parts({ maxActivationNormMultiple: 0 }).rows, held + 2 * batch);
  const harvested = { ...about, normLimit: { multiple: 10, median: 1 } };
  assert.equal(parts({}, harvested).rows, held + 2 * batch);
  // Early passes keep the pieces that they read, until there is a pool.
  assert.equal(parts({}, about, 0).rows, 4 * 66_536 * 195 + 3 * batch);
  const plain = { normalize: 'none', bDecInit: 'zero', start: 'zero' };
  assert.equal(parts(plain).sample, 2 * 4 * 65_536 * 192);
  assert.equal(parts({ ...plain, maxActivationNormMultiple: 0 }).sample, 0);
  assert.equal(parts({ ...plain, bDecInit: 'mean' }, harvested).sample, 2 * 4 * 16_384 * 192);
});

test('the memory of a forward pass is estimated within a factor of two', async () => {
  const context = 256;
  const pass = await openForwardPass(checkpoint, [hook], context, {
    dtype: 'float16',
    device: 'cpu',
    precision: 'auto',
    threads: 0,
  });
  const contexts = (count: number) =>
    Array.from({ length: count }, (_, index) => ({
      index,
      tokens: Int32Array.from({ length: context }, (_, t) => (t === 0 ? 2 : 3 + ((7 * t + index) % 4000))),
      documents: new Uint32Array(context),
    }));
  await pass.run(contexts(1), 2, Number.POSITIVE_INFINITY);
  const before = process.memoryUsage.rss();
  await pass.run(contexts(64), 2, Number.POSITIVE_INFINITY);
  const grown = process.resourceUsage().maxRSS * 1024 - before;
  await pass.release();
  const told = activationMemory(checkpoint.config, [hook], 64, context);
  assert.ok(told > grown / 2 && told < 2 * grown, `${told} told, ${grown} taken`);
});
