import assert from 'node:assert/strict';
import { test } from 'node:test';
import { faultsOf, type PlacementCase, readTrace } from '../../bench/placement-trace.js';

test("copies, products and waits are counted from the stubs' records", () => {
  const lines = [
    'malloc 4096',
    'copy H2D 100 async',
    'copy H2D 28 sync',
    'kernel _ZN3abc',
    'product cublasSgemm_v2 compute 0 mode 3',
    'product cublasGemmEx compute 68 mode 0',
    'copy D2H 7 async',
    'copy D2D 9 async',
    'wait',
    '',
  ];
  assert.deepEqual(readTrace(lines.join('\n')), {
    ...{ kernels: 1, products: 2, up: 2, upBytes: 128, down: 1, downBytes: 7, waits: 1 },
    tf32: true,
  });
  assert.equal(readTrace('product cublasGemmEx compute 68 mode 0\n').tf32, false);
});

test('numbers computed on the CPU, cuDNN and what does not run are faults; shapes on the CPU are not', () => {
  const about = { stage: 'eval', model: 'm', precision: 'float32', operators: 9, ...readTrace('') };
  const faults = (more: Partial<PlacementCase>) => faultsOf({ ...about, elsewhere: [], ...more });
  assert.deepEqual(faults({ elsewhere: ['BitCast', 'Concat', 'Div'] }), []);
  assert.deepEqual(faults({ elsewhere: ['Concat', 'MatMul'] }), ['eval, m, float32: MatMul runs on the CPU']);
  assert.deepEqual(faults({ operators: 0 }), ['eval, m, float32: nothing runs on CUDA']);
  assert.deepEqual(faults({ needsCudnn: true }), ['eval, m, float32: needs cuDNN']);
  assert.deepEqual(faults({ needsCudnn: true, stage: 'harvest', precision: 'float16' }), []);
  assert.deepEqual(faults({ error: 'no kernel', needsCudnn: true }), ['eval, m, float32: no kernel']);
});
