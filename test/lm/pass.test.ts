import assert from 'node:assert/strict';
import { test } from 'node:test';
import { harvestContexts, harvestGraph } from '../../src/harvest/forward-pass.js';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import type { ModelConfig } from '../../src/lm/family.js';
import { findHook } from '../../src/lm/hooks.js';
import { blockParameters, contextsAtOnce } from '../../src/lm/pass.js';
import { gemmaOfSizes } from './gemma-config.js';
import { readGraph } from './read-graph.js';

/** Sizes of the models' published configurations. */
const GEMMA_2B = gemmaOfSizes({ layers: 18, hidden: 2048, heads: 8, kvHeads: 1, headDim: 256, mlp: 16_384 });
const GEMMA_3_270M = gemmaOfSizes({ layers: 18, hidden: 640, heads: 4, kvHeads: 1, headDim: 256, mlp: 2048 });

test('parameters of a block are those of its seven matrices', async () => {
  const { config, tensors } = await openCheckpoint('assets/tiny-gemma');
  let matrices = 0;
  for (const [name, { shape }] of tensors) if (/^layers\.1\..*proj/.test(name)) matrices += shape[0]! * shape[1]!;
  assert.deepEqual(config.costs.blocks, Array(4).fill(matrices));
  assert.equal(blockParameters(config, 1, 3), 2 * matrices);
  // 2.51 billion less the embedding of 256,000 × 2048.
  assert.ok(Math.abs(blockParameters(GEMMA_2B) - 1.98e9) < 1e7);
});

test('a pass on a CPU has no more than 10¹² operations, or one context', () => {
  for (const [parameters, context] of [
    [3e6, 256],
    [1e8, 1024],
    [1e8, 4096],
    [2e9, 1024],
  ] as const) {
    const contexts = contextsAtOnce(parameters, context);
    assert.ok(contexts >= 1 && Number.isInteger(contexts));
    assert.ok(contexts === 1 || 2 * parameters * context * contexts <= 1e12);
    assert.ok(2 * parameters * context * (contexts + 1) > 1e12, 'and no fewer than can be');
  }
  assert.equal(contextsAtOnce(1e8, 1024, 'cuda:1'), Number.POSITIVE_INFINITY);
});

test('contexts of a harvest go by its deepest hook', async () => {
  const at = (config: ModelConfig, ...layers: number[]) => {
    const hooks = layers.map((layer) => ({ layer }) as ReturnType<typeof findHook>);
    return harvestContexts(config, hooks, 1024, 'cpu');
  };
  assert.equal(at(GEMMA_2B, 17), 1);
  assert.equal(at(GEMMA_2B, 0), 4);
  assert.equal(at(GEMMA_3_270M, 17), 4);
  assert.equal(at(GEMMA_3_270M, 2, 8), at(GEMMA_3_270M, 8));
  const { config } = await openCheckpoint('assets/tiny-gemma');
  const deepest = findHook('blocks.3.hook_resid_post', config);
  assert.ok(harvestContexts(config, [deepest], 256, undefined) > 16, 'the default --batch is one pass there');
  // On a GPU they are as many as its kernels, which count in 32 bits, can tell apart.
  const hook = { layer: 0 } as ReturnType<typeof findHook>;
  const most = harvestContexts(GEMMA_2B, [hook], 1024, 'cuda');
  assert.ok(most * 1024 * 16_384 < 2 ** 31 && (most + 1) * 1024 * 16_384 >= 2 ** 31, `${most}`);
});

test('the largest entry, for which CUDA needs cuDNN, is computed for float16 stores only', async () => {
  const checkpoint = await openCheckpoint('assets/tiny-gemma');
  const hook = findHook('blocks.0.hook_resid_post', checkpoint.config);
  for (const dtype of ['float32', 'bfloat16', 'float16'] as const) {
    const graph = readGraph(harvestGraph(checkpoint, [hook], 16, dtype, { device: 'cuda', precision: 'float32' }));
    assert.equal(graph.nodes('ReduceMax').length, Number(dtype === 'float16'), dtype);
  }
});
