import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Refusal, UsageRefusal } from '../../../../src/errors/refusal.js';
import { openCudaEngine } from '../../../../src/train/engines/cuda/cuda-engine.js';
import { entryBytes, hostBytes, planCuda } from '../../../../src/train/engines/cuda/plan.js';
import type { EngineSettings } from '../../../../src/train/engines/engine.js';
import { chooseEngine, memoryNeeded } from '../../../../src/train/engines/open.js';
import { stateBytes } from '../../../../src/train/engines/state.js';
import { batches, randomStart, smallSettings } from '../problem.js';
import { withoutCompiler } from './compiler.js';
import { CpuDevice } from './cpu-device.js';
import { openOnCpu } from './open-on-cpu.js';

const skip = withoutCompiler;
// One scale, so that tests share compiled kernels.
const settings = smallSettings('gated', { batch: 26, scale: 1 });
const step = { lr: 1e-3, l1: 0.2 };

/** The nearest bfloat16, ties to even. */
function bfloat16(value: number): number {
  const bits = new Uint32Array(Float32Array.of(value).buffer)[0]!;
  const rounded = (bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000;
  return new Float32Array(Uint32Array.of(rounded).buffer)[0]!;
}

test('products have the precision of the settings, tf32 by default', { skip }, async () => {
  for (const precision of ['float32', 'tf32', 'bfloat16', undefined] as const) {
    const device = await CpuDevice.open();
    const engine = await openCudaEngine({ ...settings, precision }, randomStart(settings, -1), 0, device);
    await engine.step({ x: batches(settings)() }, step);
    const used = [...new Set(device.products.map((product) => product.precision))];
    // A slice passed by products has them in TF32.
    assert.deepEqual(used, precision === 'bfloat16' ? ['bfloat16', 'tf32'] : [precision ?? 'tf32']);
    assert.ok(device.launches.has('denseFeatures'));
    await engine.close();
  }
});

test('bfloat16 gives the bits of float32 where nothing is rounded, and nearly its numbers where something is', {
  skip,
}, async () => {
  const start = randomStart(settings, -1);
  start.get('b_dec')!.fill(0);
  const rounded = new Map([...start].map(([name, values]) => [name, values.map(bfloat16)]));
  const x = batches(settings)();
  const first = async (from: typeof start, batch: Float32Array, precision: 'float32' | 'bfloat16') => {
    const engine = await openOnCpu({ ...settings, precision }, from);
    const metrics = await engine.step({ x: batch }, { lr: 0, l1: 0.2 });
    await engine.close();
    return metrics;
  };
  const exact = x.map(bfloat16);
  assert.deepEqual(await first(rounded, exact, 'bfloat16'), await first(rounded, exact, 'float32'));
  const [a, b] = [await first(start, x, 'bfloat16'), await first(start, x, 'float32')];
  assert.notEqual(a.mse, b.mse);
  assert.ok(Math.abs(a.mse - b.mse) < 1e-2 * b.mse, `${a.mse} and ${b.mse}`);
});

test('the rounded encoder follows its parameters: continuing from the state gives the same bits', {
  skip,
}, async () => {
  const rounding = { ...settings, precision: 'bfloat16' as const };
  const next = batches(settings);
  const whole = await openOnCpu(rounding, randomStart(settings, -1));
  for (let t = 0; t < 4; t++) await whole.step({ x: next() }, step);
  const resumed = await openOnCpu(rounding, await whole.state(), 4);
  const x = next();
  assert.deepEqual(await resumed.step({ x }, step), await whole.step({ x }, step));
  assert.deepEqual(await resumed.state(), await whole.state());
  await Promise.all([whole.close(), resumed.close()]);
});

test('the plan counts what is on the device; all of it is released', { skip }, async () => {
  for (const more of [{}, { beta1: 0.9 }, { precision: 'bfloat16' as const }, { trained: ['b_mag'] as const }]) {
    const these = { ...settings, precision: 'float32' as const, ...more };
    const engine = await openOnCpu(these, randomStart(these, -1), 0, { idle: true });
    const { arrays, entries } = planCuda(these, { slice: 4 * these.batch * 64, denseShare: 1 });
    const fixed = [...arrays.values()].reduce((sum, bytes) => sum + bytes, 0);
    assert.equal(engine.device.used, fixed + entryBytes(entries));
    assert.equal(engine.device.buffers, 3);
    await engine.close();
    assert.ok(engine.device.isClosed);
    assert.equal(engine.device.buffers, 0);
    await engine.close();
  }
});

test('a device with too little memory is refused with the numbers, and closed', { skip }, async () => {
  const large = smallSettings('gated', { dIn: 3072, dSae: 131_072, batch: 4096, batchDType: 'float16' });
  const device = await CpuDevice.open({ bytes: 7 * 2 ** 30 });
  const refused = (error: unknown) =>
    error instanceof Refusal &&
    /--d-sae 131072 .* needs \d+\.\d GiB of memory on .*, but only 7\.0 GiB/.test(error.message);
  await assert.rejects(openCudaEngine(large, new Map(), 0, device), refused);
  assert.ok(device.isClosed);
  const { bytes, slice, slices, mostEntries } = planCuda(large);
  // Entries of a slice in 32 at most, with a quarter to spare.
  assert.equal(mostEntries, (4096 * 131_072) / 32);
  assert.ok(bytes > 4 * 4 * 3072 * 131_072 + 24 * mostEntries);
  assert.deepEqual([slice, slices], [16_384, 8]);
  const [megabytes, fixed] = [(size: number) => Math.round(size / 1e6), bytes - 24 * mostEntries];
  const page = readFileSync('docs/how-to/gpu.md', 'utf8');
  assert.ok(page.includes(`| **without entries** | | **${megabytes(fixed)}** |`));
  assert.ok(page.includes(`**${megabytes(bytes).toLocaleString('en')}** |`));
  assert.equal(memoryNeeded('cuda', large), hostBytes(large));
  assert.ok(hostBytes(large) > stateBytes(large));
});

test('an untied encoder is refused, and a state of other sizes', { skip }, async () => {
  const untied = { ...settings, architecture: 'gated_untied' as const };
  await assert.rejects(openOnCpu(untied, new Map()), /needs two/);
  await assert.rejects(
    openOnCpu(settings, new Map([['b_dec', new Float32Array(3)]])),
    /b_dec: 3 values where 22 belong/,
  );
});

test('--engine cuda needs --experimental and a CUDA device, and auto never picks it', () => {
  const cuda = { engine: 'cuda', device: 'cuda:1', experimental: true } as const;
  assert.equal(chooseEngine(cuda, settings), 'cuda');
  assert.equal(chooseEngine({ ...cuda, device: 'cuda', enginePrecision: 'float32' }), 'cuda');
  assert.equal(chooseEngine({ ...cuda, engine: 'auto' }), 'reference');
  const refused = (choice: Parameters<typeof chooseEngine>[0], words: RegExp, ...more: [EngineSettings?]) =>
    assert.throws(
      () => chooseEngine(choice, ...more),
      (error) => error instanceof UsageRefusal && words.test(error.message),
    );
  refused({ ...cuda, experimental: false }, /has never run on a GPU/);
  refused({ ...cuda, device: 'cpu' }, /runs on an NVIDIA GPU, not on cpu/);
  refused({ engine: 'cuda', experimental: true }, /not on cpu/);
  refused({ ...cuda, device: 'webgpu' }, /not on webgpu/);
  refused(cuda, /needs two/, { ...settings, architecture: 'gated_untied' });
  const topk = (auxCoefficient: number) => smallSettings('topk', { options: { k: 8, kAux: 4, auxCoefficient } });
  for (const auxCoefficient of [0, 0.1]) assert.equal(chooseEngine(cuda, topk(auxCoefficient)), 'cuda');
  const multi = smallSettings('topk', { options: { k: 8, kAux: 4, auxCoefficient: 0, multiTopk: true } });
  refused(cuda, /--engine cuda cannot train this SAE: --multi-topk needs two reconstructions/, multi);
  refused({ engine: 'auto', enginePrecision: 'tf32' }, /--engine-precision tf32 requires --engine cuda/);
  refused({ engine: 'reference', device: 'cuda', enginePrecision: 'bfloat16' }, /requires --engine cuda/);
});
