import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { cudaTraining, cudaTrainingLines } from '../../src/doctor/machine.js';
import { buildStub } from '../train/engines/cuda-device/stub.js';

test('a GPU that computes is ready; a library that is missing is named, with those that are there', async (t) => {
  const stub = await buildStub();
  if (typeof stub === 'string') return t.skip(stub);
  const ready = await cudaTraining('cuda');
  assert.equal(ready.gpu?.name, 'Stub 40', ready.reason);
  assert.deepEqual(ready.missing, []);
  assert.equal(ready.found.length, 3);
  assert.deepEqual(cudaTrainingLines(ready), [
    'ready: Stub 40, compute capability 9.0, driver for CUDA 12.9, NVRTC 12.9',
  ]);

  const absent = await cudaTraining('cuda:7');
  assert.equal(absent.gpu, undefined);
  assert.match(cudaTrainingLines(absent)[0]!, /^no: There is no GPU 7: the driver counts 1, from 0\./);

  rmSync(join(stub.directory, 'libcublas.so.12'));
  const lacking = await cudaTraining('cuda');
  if (lacking.found.length === 3) return t.skip('this machine has cuBLAS');
  const [driver, nvrtc] = ['libcuda.so.1', 'libnvrtc.so.12'].map((file) => join(stub.directory, file));
  assert.deepEqual(cudaTrainingLines(lacking), [
    'no: not found: cuBLAS (libcublas.so.13 or libcublas.so.12)',
    `found: ${driver}, ${nvrtc}`,
  ]);
  assert.match(lacking.reason!, /^cuBLAS .+ is not usable: searched .+ SAE_PIPE_CUDA_LIBS\.$/);
});

test('lines for people: what is in the way, without libraries too', () => {
  const none = { found: [], missing: ["NVIDIA's driver (libcuda.so.1)", 'cuBLAS'], reason: 'long' };
  assert.deepEqual(cudaTrainingLines(none), ["no: not found: NVIDIA's driver (libcuda.so.1), cuBLAS"]);
  assert.deepEqual(cudaTrainingLines({ found: ['a'], missing: [], reason: 'It is. So.' }), [
    'no: It is. So',
    'found: a',
  ]);
});
