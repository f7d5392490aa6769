import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Refusal, UsageRefusal } from '../../src/errors/refusal.js';
import { PARAMETERS } from '../../src/sae/registry.js';
import { checkMemory, chooseEngine } from '../../src/train/engines/open.js';
import { openReferenceEngine } from '../../src/train/engines/reference/engine.js';
import { openSparseEngine, planWorkers } from '../../src/train/engines/sparse/engine.js';
import { openGolden, relativeDifference } from '../golden.js';
import {
  batches,
  COMPARED,
  RESAMPLED,
  randomStart,
  resample,
  smallSettings,
  stateDifference,
} from '../train/engines/problem.js';

/** Features whose gate is far closed. */
const SILENT = [1, 0, 57, 209];

function silence(start: Map<string, Float32Array>): Map<string, Float32Array> {
  for (const name of ['b_gate', 'b_enc']) for (const j of SILENT) if (start.has(name)) start.get(name)![j] = -1e4;
  return start;
}

for (const architecture of ['gated', 'standard'] as const) {
  for (const beta1 of [0, 0.9]) {
    for (const [density, bias] of [
      ['sparse', -1.5],
      ['half full', 0],
    ] as const) {
      test(`200 ${density} ${architecture} steps with β1 = ${beta1} agree with the reference engine`, async () => {
        const settings = smallSettings(architecture, { beta1 });
        const start = silence(randomStart(settings, bias));
        const reference = await openReferenceEngine(settings, start);
        const sparse = await openSparseEngine(settings, start);
        const next = batches(settings, 12);
        const step = { lr: 3e-4, l1: 0.3 };
        for (let t = 0; t < 200; t++) {
          if (t === 100) {
            await reference.load(resample(await reference.state(), settings));
            await sparse.load(resample(await sparse.state(), settings));
          }
          const x = next();
          const [expected, found] = [await reference.step({ x }, step), await sparse.step({ x }, step)];
          for (const name of COMPARED) {
            const off = Math.abs(found[name] - expected[name]);
            assert.ok(
              off <= 1e-4 * Math.abs(expected[name]),
              `step ${t}, ${name}: ${found[name]}, not ${expected[name]}`,
            );
          }
        }
        const { name, difference } = await stateDifference(sparse, reference);
        assert.ok(difference < 1e-4, `${name}: ${difference}`);
        const since = (await sparse.state()).get('since_fired')!;
        for (const j of SILENT.slice(1)) assert.equal(since[j], 200 * settings.batch);
        assert.ok(
          RESAMPLED.every((j) => since[j]! < 100 * settings.batch),
          'resampled features fire',
        );
        await Promise.all([reference.close(), sparse.close()]);
      });
    }

    test(`ten ${architecture} steps with β1 = ${beta1} equal PyTorch autograd in float64`, async () => {
      const golden = await openGolden(`train-${architecture}-${beta1}`);
      const settings = smallSettings(architecture, { dIn: 12, dSae: 40, batch: 32, scale: 1, beta1 });
      const start = new Map<string, Float32Array>();
      for (const name of PARAMETERS[architecture]) start.set(name, await golden.floats(`init/${name}`));
      const engine = await openSparseEngine(settings, start);
      const all = await golden.floats('batches');
      const [lr, l1] = [await golden.doubles('lr'), await golden.doubles('l1')];
      const size = settings.batch * settings.dIn;
      for (let t = 0; t < 10; t++)
        await engine.step({ x: all.slice(t * size, (t + 1) * size) }, { lr: lr[t]!, l1: l1[t]! });
      const { parameters } = await engine.sae();
      for (const name of PARAMETERS[architecture]) {
        const difference = relativeDifference(parameters[name]!, await golden.doubles(`final/${name}`));
        assert.ok(difference < 2e-5, `${name}: ${difference}`);
      }
      await engine.close();
    });
  }
}

for (const beta1 of [0, 0.9]) {
  test(`the same run gives the same bits, and other numbers of workers the same numbers (β1 = ${beta1})`, async () => {
    const run = async (threads: number) => {
      const settings = smallSettings('gated', { beta1, threads, dSae: 330 });
      const engine = await openSparseEngine(settings, randomStart(settings, -1.5));
      const next = batches(settings);
      for (let t = 0; t < 50; t++) await engine.step({ x: next() }, { lr: 3e-4, l1: 0.3 });
      assert.equal(engine.workers, threads);
      return engine;
    };
    const [one, two, again, three] = await Promise.all([run(1), run(2), run(2), run(3)]);
    assert.deepEqual(await again.state(), await two.state());
    for (const [name, values] of await one.state()) {
      for (const other of [two, three]) {
        const difference = relativeDifference((await other.state()).get(name)!, values);
        assert.ok(difference < 1e-5, `${other.workers} workers, ${name}: ${difference}`);
      }
    }
    await Promise.all([one, two, again, three].map((engine) => engine.close()));
  });
}

test('reading the state, and continuing from it, changes no bit of what follows', async () => {
  const settings = smallSettings('gated');
  // Few features are active, so that rows miss many decays.
  const start = randomStart(settings, -2.5);
  const whole = await openSparseEngine(settings, start);
  const watched = await openSparseEngine(settings, start);
  const step = { lr: 1e-3, l1: 0.2 };
  const [a, b] = [batches(settings), batches(settings)];
  for (let t = 0; t < 40; t++) {
    await whole.step({ x: a() }, step);
    await watched.step({ x: b() }, step);
    if (t % 7 === 3) await watched.state();
  }
  const resumed = await openSparseEngine(settings, await watched.state(), watched.steps);
  for (let t = 0; t < 20; t++) {
    await whole.step({ x: a() }, step);
    await resumed.step({ x: b() }, step);
  }
  assert.equal(resumed.steps, 60);
  assert.deepEqual(await resumed.state(), await whole.state());
  await Promise.all([whole, watched, resumed].map((engine) => engine.close()));
});

test('a state moves from the sparse to the reference engine and back', async () => {
  const settings = smallSettings('gated', { beta1: 0.9 });
  const start = randomStart(settings, -1.5);
  const pure = await openReferenceEngine(settings, start);
  const sparse = await openSparseEngine(settings, start);
  const step = { lr: 3e-4, l1: 0.3 };
  const [a, b] = [batches(settings), batches(settings)];
  for (let t = 0; t < 30; t++) await pure.step({ x: a() }, step);
  for (let t = 0; t < 10; t++) await sparse.step({ x: b() }, step);
  const reference = await openReferenceEngine(settings, await sparse.state(), 10);
  for (let t = 0; t < 10; t++) await reference.step({ x: b() }, step);
  const last = await openSparseEngine(settings, await reference.state(), 20);
  for (let t = 0; t < 10; t++) await last.step({ x: b() }, step);
  const { name, difference } = await stateDifference(last, pure);
  assert.ok(difference < 2e-5, `${name}: ${difference}`);
  await Promise.all([pure, sparse, reference, last].map((engine) => engine.close()));
});

test('float16 batches and batches of one activation', async () => {
  const bits = [0x3c00, 0xbc00, 0x3800, 0xb800, 0x4000, 0x0001];
  for (const batch of [1, 33]) {
    const settings = smallSettings('standard', { batch, batchDType: 'float16' });
    const start = randomStart(settings, -0.5);
    const [a, b] = [await openReferenceEngine(settings, start), await openSparseEngine(settings, start)];
    for (let t = 0; t < 5; t++) {
      const x = Uint16Array.from({ length: batch * settings.dIn }, (_, i) => bits[(i * 7 + (i >> 3) + t) % 6]!);
      const [expected, found] = [
        await a.step({ x }, { lr: 1e-3, l1: 0.1 }),
        await b.step({ x }, { lr: 1e-3, l1: 0.1 }),
      ];
      assert.ok(Math.abs(found.mse - expected.mse) < 1e-5 * expected.mse, `${found.mse}, not ${expected.mse}`);
    }
    const { name, difference } = await stateDifference(b, a);
    assert.ok(difference < 2e-5, `${name}: ${difference}`);
    await Promise.all([a.close(), b.close()]);
  }
});

test('NaN in a batch or in the weights reaches the loss', async () => {
  const settings = smallSettings('gated');
  const x = batches(settings)();
  const poisoned = x.slice();
  poisoned[100] = Number.NaN;
  const start = randomStart(settings, -1.5);
  const engine = await openSparseEngine(settings, start);
  assert.ok(Number.isFinite((await engine.step({ x }, { lr: 0, l1: 0.1 })).mse));
  assert.ok(Number.isNaN((await engine.step({ x: poisoned }, { lr: 0, l1: 0.1 })).mse));
  await engine.close();
  start.get('W_enc')![5] = Number.NaN;
  const broken = await openSparseEngine(settings, start);
  assert.ok(Number.isNaN((await broken.step({ x }, { lr: 0, l1: 0.1 })).mse));
  await broken.close();
});

test('slices above the largest memory are spread over more workers; too little memory is refused with the numbers', () => {
  const large = smallSettings('gated', { dIn: 3072, dSae: 131_072, batch: 4096 });
  const { workers, bytes } = planWorkers(large);
  assert.ok(workers > 2 && bytes / workers < 2 ** 32 + 2 ** 29, `${workers} workers, ${bytes} bytes`);
  // Parameters and second moments are float32.
  assert.ok(bytes > 4 * 4 * 3072 * 131_072);
  checkMemory('sparse', large, bytes);
  const refused = (error: unknown) =>
    error instanceof Refusal &&
    /--d-sae 131072 .* needs \d+\.\d GiB of memory, but only 8\.0 GiB are available/.test(error.message);
  assert.throws(() => checkMemory('sparse', large, 2 ** 33), refused);
  assert.throws(() => checkMemory('reference', large, 2 ** 33), refused);
  assert.equal(planWorkers(smallSettings('gated', { threads: 16 })).workers, 3);
});

test('the sparse engine is the default on the CPU, and refuses other devices', () => {
  assert.equal(chooseEngine({ engine: 'auto' }), 'sparse');
  assert.equal(chooseEngine({ engine: 'auto', device: 'cuda:1' }), 'reference');
  assert.equal(chooseEngine({ engine: 'reference', device: 'cpu' }), 'reference');
  assert.throws(() => chooseEngine({ engine: 'sparse', device: 'cuda' }), UsageRefusal);
  assert.equal(chooseEngine({ engine: 'auto', device: 'cpu' }, smallSettings('gated_untied')), 'reference');
  assert.equal(chooseEngine({ engine: 'auto', device: 'cpu' }, smallSettings('gated')), 'sparse');
  assert.throws(() => chooseEngine({ engine: 'sparse', device: 'cpu' }, smallSettings('gated_untied')), /needs two/);
});
