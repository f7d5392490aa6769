import assert from 'node:assert/strict';
import { test } from 'node:test';
import { sayTf32, tf32Remark } from '../../src/onnx/tf32.js';

test('TF32 is reported on CUDA, with the setting that makes products float32, and not if that is set', () => {
  for (const device of ['cuda', 'cuda:1']) assert.match(tf32Remark(device, {})!, /TF32.*NVIDIA_TF32_OVERRIDE=0/);
  assert.ok(tf32Remark('cuda', { NVIDIA_TF32_OVERRIDE: '1' }));
  assert.equal(tf32Remark('cuda', { NVIDIA_TF32_OVERRIDE: '0' }), undefined);
  for (const device of ['cpu', 'webgpu']) assert.equal(tf32Remark(device, {}), undefined);
  const said: string[] = [];
  sayTf32((line) => said.push(line), 'cpu');
  assert.deepEqual(said, []);
});
