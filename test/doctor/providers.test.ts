import assert from 'node:assert/strict';
import { test } from 'node:test';
import { check, requireFit } from '../../src/doctor/doctor.js';
import { providerLines } from '../../src/doctor/doctor-table.js';
import { providers } from '../../src/doctor/machine.js';
import { freeOnGpu, parseGpus } from '../../src/machine/gpus.js';
import { refuses } from '../config/refuses.js';

test('every provider is tried; one that does not work says why', async () => {
  const found = await providers();
  assert.deepEqual(
    found.map(({ name }) => name),
    ['cpu', 'cuda', 'webgpu'],
  );
  assert.deepEqual(found[0], { name: 'cpu', available: true, reasons: [] });
  for (const { available, reasons } of found) assert.equal(available, reasons.length === 0);
  const cuda = found[1]!;
  if (!cuda.available && process.platform === 'linux') assert.match(cuda.reasons.join('\n'), /\.so/);
});

test('notes about a provider are printed below it', () => {
  const cuda = { name: 'cuda', available: true, reasons: [], notes: ['float32 is TF32', 'no cuDNN'] } as const;
  const webgpu = { name: 'webgpu', available: false, reasons: ['no adapter', 'no Vulkan'] } as const;
  assert.deepEqual(providerLines({ providers: [cuda, webgpu] }), [
    ...[
      ['cuda', 'ready'],
      ['', '    float32 is TF32'],
      ['', '    no cuDNN'],
    ],
    ...[
      ['webgpu', 'no: no adapter'],
      ['', '    no Vulkan'],
    ],
  ]);
});

test('GPUs are read as nvidia-smi lists them', () => {
  assert.deepEqual(parseGpus('NVIDIA H100 80GB HBM3, 81559, 81000\nOdd, name, 10, 5\n'), [
    { name: 'NVIDIA H100 80GB HBM3', total: 81559 * 2 ** 20, free: 81000 * 2 ** 20 },
    { name: 'Odd, name', total: 10 * 2 ** 20, free: 5 * 2 ** 20 },
  ]);
  assert.deepEqual(parseGpus(''), []);
});

test('free memory is that of the GPU that the device names, as far as it is known', () => {
  const gpu = (name: string, free: number) => ({ name, total: 100, free });
  const alike = [gpu('a', 10), gpu('a', 20)];
  assert.deepEqual(
    ['cuda', 'cuda:1', 'cuda:2'].map((device) => freeOnGpu(device, alike, {})),
    [10, 20, undefined],
  );
  assert.equal(freeOnGpu('cuda', alike, { CUDA_VISIBLE_DEVICES: '1' }), 20);
  assert.equal(freeOnGpu('cuda:1', alike, { CUDA_VISIBLE_DEVICES: '1' }), undefined);
  assert.equal(freeOnGpu('cuda', alike, { CUDA_VISIBLE_DEVICES: 'GPU-1f' }), undefined);
  // The driver may count the fastest first.
  const unlike = [gpu('a', 30), gpu('b', 20)];
  assert.equal(freeOnGpu('cuda', unlike, {}), 20);
  assert.equal(freeOnGpu('cuda', unlike, { CUDA_DEVICE_ORDER: 'PCI_BUS_ID' }), 30);
});

test('what does not fit, and a device that cannot be used, are refused; what is not known is not', async () => {
  const ready = { name: 'cpu', available: true, reasons: [] } as const;
  const none = { name: 'cuda', available: false, reasons: ['no driver', 'no GPU'] } as const;
  const verdict = { device: 'cpu', providers: [ready, none], checks: [check('a', 5, 5, ''), check('b', 9, null, '')] };
  requireFit(verdict);
  await refuses(
    () => requireFit({ ...verdict, device: 'cuda:1' }),
    'onnx/device-unusable',
    'Device cuda:1 cannot be used: no driver.',
  );
  const checks = [...verdict.checks, check('the store', 2048, 1024, 'Ask for less.')];
  await refuses(
    () => requireFit({ ...verdict, checks }),
    'doctor/does-not-fit',
    'the store needs 2.0 KiB, but 1.0 KiB are free',
  );
});
