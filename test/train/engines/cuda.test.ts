import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PARAMETERS } from '../../../src/sae/registry.js';
import type { Engine, EngineSettings, StepMetrics, TrainerState } from '../../../src/train/engines/engine.js';
import { openReferenceEngine } from '../../../src/train/engines/reference/engine.js';
import { openSparseEngine } from '../../../src/train/engines/sparse/engine.js';
import { openGolden, relativeDifference } from '../../golden.js';
import { withoutCompiler } from './cuda/compiler.js';
import { openOnCpu } from './cuda/open-on-cpu.js';
import { batches, randomStart, smallSettings, stateDifference, stepBoth } from './problem.js';

const skip = withoutCompiler;
const small = (architecture: 'gated' | 'standard', more: Partial<EngineSettings> = {}) =>
  smallSettings(architecture, { batch: 26, deadWindow: 260, ...more });

/** Features whose gate is far closed. */
const SILENT = [1, 0, 57, 209];

function silence(start: Map<string, Float32Array>): Map<string, Float32Array> {
  for (const name of ['b_gate', 'b_enc']) for (const j of SILENT) if (start.has(name)) start.get(name)![j] = -1e4;
  return start;
}

async function assertSameState(a: Engine, b: Engine): Promise<void> {
  const { name, difference } = await stateDifference(a, b);
  assert.ok(difference < 1e-4, `${name}: ${difference}`);
}

for (const architecture of ['gated', 'standard'] as const) {
  for (const beta1 of [0, 0.9]) {
    for (const [density, bias] of [
      ['sparse', -1.5],
      ['half full', 0],
    ] as const) {
      test(`20 ${density} ${architecture} steps with β1 = ${beta1} agree with the reference engine`, {
        skip,
      }, async () => {
        const settings = small(architecture, { beta1 });
        const start = silence(randomStart(settings, bias));
        const [reference, cuda] = [await openReferenceEngine(settings, start), await openOnCpu(settings, start)];
        await stepBoth(reference, cuda, 20, batches(settings));
        await assertSameState(cuda, reference);
        const since = (await cuda.state()).get('since_fired')!;
        for (const j of SILENT) assert.equal(since[j], 20 * settings.batch);
        await Promise.all([reference.close(), cuda.close()]);
      });
    }

    test(`ten ${architecture} steps with β1 = ${beta1} equal PyTorch autograd in float64`, { skip }, async () => {
      const golden = await openGolden(`train-${architecture}-${beta1}`);
      const settings = smallSettings(architecture, { dIn: 12, dSae: 40, batch: 32, scale: 1, beta1 });
      const start = new Map<string, Float32Array>();
      for (const name of PARAMETERS[architecture]) start.set(name, await golden.floats(`init/${name}`));
      const engine = await openOnCpu(settings, start);
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

/** No multiple of anything; rows of two warps; more tokens than are counted at a time; one of everything. */
const SHAPES = [
  { dIn: 17, dSae: 203, batch: 5 },
  { dIn: 300, dSae: 70, batch: 9 },
  { dIn: 9, dSae: 33, batch: 261 },
  { dIn: 1, dSae: 1, batch: 1 },
];
const HALVES = [0x3c00, 0xbc00, 0x3800, 0xb800, 0x4000, 0x0001, 0xb555];

for (const [i, shape] of SHAPES.entries()) {
  for (const batchDType of ['float32', 'float16'] as const) {
    const name = `d_in ${shape.dIn}, d_sae ${shape.dSae}, ${shape.batch} activations in ${batchDType}`;
    test(`20 steps at ${name} agree with the reference engine`, { skip }, async () => {
      const settings = small(i % 2 ? 'standard' : 'gated', { ...shape, batchDType });
      const start = randomStart(settings, -0.5);
      const [reference, cuda] = [await openReferenceEngine(settings, start), await openOnCpu(settings, start)];
      let t = 0;
      const halves = () => {
        t++;
        return Uint16Array.from({ length: shape.batch * shape.dIn }, (_, k) => HALVES[(k * 5 + (k >> 3) + t) % 7]!);
      };
      await stepBoth(reference, cuda, 20, batchDType === 'float16' ? halves : batches(settings));
      await assertSameState(cuda, reference);
      await Promise.all([reference.close(), cuda.close()]);
    });
  }
}

for (const [all, bias] of [
  ['no feature is', -1e4],
  ['all features are', 50],
] as const) {
  test(`steps in which ${all} active`, { skip }, async () => {
    for (const beta1 of [0, 0.9]) {
      const settings = small('gated', { beta1, batch: 12 });
      const start = randomStart(settings, bias);
      const [reference, cuda] = [await openReferenceEngine(settings, start), await openOnCpu(settings, start)];
      await stepBoth(reference, cuda, 5, batches(settings));
      const { l0 } = await cuda.step({ x: batches(settings)() }, { lr: 0, l1: 0 });
      assert.equal(l0, bias > 0 ? settings.dSae : 0);
      await reference.step({ x: batches(settings)() }, { lr: 0, l1: 0 });
      await assertSameState(cuda, reference);
      await Promise.all([reference.close(), cuda.close()]);
    }
  });
}

test('a step whose entries find no room is done again with more, and changes nothing before', { skip }, async () => {
  const settings = small('gated');
  const [slices, start] = [4, randomStart(settings, 1)];
  const cuda = await openOnCpu(settings, start);
  const before = cuda.device.used;
  const x = batches(settings)();
  const { l0 } = await cuda.step({ x }, { lr: 1e-3, l1: 0.2 });
  assert.ok(l0 > 64, `${l0} active features a token would have fitted`);
  assert.equal(cuda.device.launches.get('gather'), 2 * slices);
  // A quarter more than were asked for, here cut to all there can be; 24 bytes each.
  assert.equal(cuda.device.used - before, 24 * 26 * (settings.dSae - 64));
  await cuda.step({ x }, { lr: 1e-3, l1: 0.2 });
  assert.equal(cuda.device.launches.get('gather'), 3 * slices, 'room is kept');
  const reference = await openReferenceEngine(settings, start);
  for (let t = 0; t < 2; t++) await reference.step({ x }, { lr: 1e-3, l1: 0.2 });
  await assertSameState(cuda, reference);
  await Promise.all([reference.close(), cuda.close()]);
});

for (const beta1 of [0, 0.9]) {
  test(`the same run gives the same bits, in whatever order threads and blocks run (β1 = ${beta1})`, {
    skip,
  }, async () => {
    const settings = small('gated', {
      beta1,
      dIn: 290,
      dSae: 75,
      batch: 11,
      options: { ablate: ['unfrozen-decoder'] },
    });
    const run = async (options: Parameters<typeof openOnCpu>[3]) => {
      const engine = await openOnCpu(settings, randomStart(settings, -1), 0, options);
      const next = batches(settings);
      const metrics: StepMetrics[] = [];
      for (let t = 0; t < 8; t++) metrics.push(await engine.step({ x: next() }, { lr: 1e-3, l1: 0.3 }));
      const state = await engine.state();
      await engine.close();
      return { metrics, state };
    };
    const first = await run({});
    assert.deepEqual(await run({}), first);
    assert.deepEqual(await run({ order: 'backwards', uploads: 'late' }), first);
    assert.deepEqual(await run({ order: 'shuffled' }), first);
  });
}

test('steps may be asked for ahead: each waits for the one before, and its batch for room', { skip }, async () => {
  const settings = small('gated', { batchDType: 'float32' });
  const start = randomStart(settings, -0.5);
  for (const uploads of ['early', 'late'] as const) {
    const [one, ahead] = [await openOnCpu(settings, start), await openOnCpu(settings, start, 0, { uploads })];
    const next = batches(settings);
    // The first step finds too little room and is done twice; the second would not, and must wait for that.
    const all = Array.from({ length: 7 }, (_, t) => next().map((x) => x * (t % 2 ? 0.01 : 20)));
    const step = { lr: 1e-3, l1: 0.3 };
    const waited: StepMetrics[] = [];
    for (const x of all) waited.push(await one.step({ x }, step));
    assert.deepEqual(await Promise.all(all.map((x) => ahead.step({ x }, step))), waited);
    assert.equal(ahead.steps, 7);
    assert.deepEqual(await ahead.state(), await one.state());
    await Promise.all([one.close(), ahead.close()]);
  }
});

test('looking at the state, and going on from it, changes no bit of what follows', { skip }, async () => {
  // Few features are active, so that rows miss many decays.
  const settings = small('gated', { batch: 6 });
  const start = randomStart(settings, -2.5);
  const [whole, watched] = [await openOnCpu(settings, start), await openOnCpu(settings, start)];
  const step = { lr: 1e-3, l1: 0.2 };
  const [a, b] = [batches(settings), batches(settings)];
  for (let t = 0; t < 20; t++) {
    await whole.step({ x: a() }, step);
    await watched.step({ x: b() }, step);
    if (t % 7 === 3) await watched.state();
  }
  const resumed = await openOnCpu(settings, await watched.state(), watched.steps);
  for (let t = 0; t < 10; t++) {
    await whole.step({ x: a() }, step);
    await resumed.step({ x: b() }, step);
  }
  assert.equal(resumed.steps, 30);
  assert.deepEqual(await resumed.state(), await whole.state());
  await Promise.all([whole, watched, resumed].map((engine) => engine.close()));
});

test('a state moves from the CUDA to the sparse engine and back', { skip }, async () => {
  for (const beta1 of [0, 0.9]) {
    const settings = small('gated', { beta1 });
    const start = randomStart(settings, -1.5);
    const pure = await openReferenceEngine(settings, start);
    const [a, b] = [batches(settings), batches(settings)];
    const step = { lr: 3e-4, l1: 0.3 };
    for (let t = 0; t < 24; t++) await pure.step({ x: a() }, step);
    let state: TrainerState = start;
    for (const [i, open] of [openOnCpu, openSparseEngine, openOnCpu].entries()) {
      const engine: Engine = await open(settings, state, 8 * i);
      for (let t = 0; t < 8; t++) await engine.step({ x: b() }, step);
      state = await engine.state();
      await engine.close();
    }
    for (const [name, values] of await pure.state()) {
      const difference = relativeDifference(state.get(name)!, values);
      assert.ok(difference < 2e-5, `${name}: ${difference}`);
    }
    await pure.close();
  }
});

test('NaN in a batch or in the weights reaches the loss', { skip }, async () => {
  const settings = small('gated');
  const x = batches(settings)();
  const poisoned = x.slice();
  poisoned[100] = Number.NaN;
  const start = randomStart(settings, -1.5);
  const engine = await openOnCpu(settings, start);
  assert.ok(Number.isFinite((await engine.step({ x }, { lr: 0, l1: 0.1 })).mse));
  assert.ok(Number.isNaN((await engine.step({ x: poisoned }, { lr: 0, l1: 0.1 })).mse));
  await engine.close();
  start.get('W_enc')![5] = Number.NaN;
  const broken = await openOnCpu(settings, start);
  assert.ok(Number.isNaN((await broken.step({ x }, { lr: 0, l1: 0.1 })).mse));
  await broken.close();
});
