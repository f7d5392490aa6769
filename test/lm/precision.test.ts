import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { attentionForm } from '../../src/lm/attention.js';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { choosePrecision } from '../../src/lm/pass.js';
import { refusesUsage } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { openRandomModel, writeCheckpoint } from './random-model.js';
import { readGraph } from './read-graph.js';
import { hooksGraph } from './run-model.js';

const root = temporaryDirectory();
const model = await openRandomModel('gemma2-mqa');
const open = async (dtype: 'F32' | 'F16' | 'BF16') =>
  openCheckpoint(await writeCheckpoint(join(root, dtype), model, { dtype }));

test("auto is the checkpoint's own precision on cuda and float32 elsewhere", async () => {
  for (const [dtype, own] of [
    ['F32', 'float32'],
    ['F16', 'float16'],
    ['BF16', 'bfloat16'],
  ] as const) {
    const checkpoint = await open(dtype);
    assert.equal(choosePrecision('auto', 'cuda', checkpoint).precision, own);
    assert.equal(choosePrecision('auto', 'cuda:1', checkpoint).precision, own);
    assert.equal(choosePrecision('auto', 'cpu', checkpoint).precision, 'float32');
    assert.equal(choosePrecision('auto', 'webgpu', checkpoint).precision, 'float32');
    assert.equal(choosePrecision('float32', 'cuda', checkpoint).precision, 'float32');
  }
});

test('bfloat16 products where ONNX Runtime has none are refused with a way out', async () => {
  const checkpoint = await open('BF16');
  for (const device of ['cpu', 'webgpu']) {
    await refusesUsage(
      () => choosePrecision('bfloat16', device, checkpoint),
      'lm/bfloat16',
      'bfloat16',
      device,
      '--precision float32',
    );
  }
  assert.deepEqual(choosePrecision('float16', 'cpu', checkpoint), { device: 'cpu', precision: 'float16' });
});

test('weights in the precision of the products are used in place: no cast, no copy', async () => {
  const checkpoint = await open('BF16');
  const casts = (precision: 'float32' | 'bfloat16', weight: string) => {
    const graph = readGraph(hooksGraph(checkpoint, 16, { device: 'cuda', precision }));
    assert.ok(graph.external.has(weight));
    return graph.nodes('Cast').filter(({ input }) => input[0] === weight).length;
  };
  for (const matrix of ['self_attn.q_proj', 'self_attn.o_proj', 'mlp.up_proj', 'mlp.down_proj']) {
    assert.equal(casts('float32', `layers.0.${matrix}.weight`), 1);
    assert.equal(casts('bfloat16', `layers.0.${matrix}.weight`), 0);
  }
  assert.equal(casts('bfloat16', 'layers.0.input_layernorm.weight'), 1);
});

test('attention has the operator whose kernels the device has', () => {
  assert.equal(attentionForm('cpu', 'float32', 256), 'chunks');
  assert.equal(attentionForm('cpu', 'float16', 12), 'Attention');
  assert.equal(attentionForm('cuda', 'bfloat16', 256), 'GroupQueryAttention');
  assert.equal(attentionForm('cuda:1', 'float16', 128), 'GroupQueryAttention');
  assert.equal(attentionForm('cuda', 'float32', 256), 'Attention');
  assert.equal(attentionForm('webgpu', 'float32', 256), 'Attention');
});
