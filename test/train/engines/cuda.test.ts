import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Batch } from '../../../src/activations/activation-source.js';
import { PARAMETERS } from '../../../src/sae/registry.js';
import type { Engine, EngineSettings, StepMetrics, TrainerState } from '../../../src/train/engines/engine.js';
import { openReferenceEngine } from '../../../src/train/engines/reference/engine.js';
import { openSparseEngine } from '../../../src/train/engines/sparse/engine.js';
import { stateShapes } from '../../../src/train/engines/state.js';
import { openGolden, relativeDifference } from '../../golden.js';
import { withoutCompiler } from './cuda/compiler.js';
import { openOnCpu } from './cuda/open-on-cpu.js';
import { batches, randomStart, smallSettings, stateDifference, stepBoth } from './problem.js';
import { VARIANTS } from './variants.js';

const skip = withoutCompiler;
const small = (architecture: 'gated' | 'standard' | 'topk', more: Partial<EngineSettings> = {}) =>
  smallSettings(architecture, { batch: 26, deadWindow: 104, ...more });

/** Features whose gate is far closed. */
const SILENT = [1, 0, 57, 209];

function silence(start: Map<string, Float32Array>, { dSae }: EngineSettings): Map<string, Float32Array> {
  const biases = ['b_gate', 'b_enc'].filter((name) => start.has(name));
  for (const name of biases) for (const j of SILENT) if (j < dSae && dSae > 1) start.get(name)![j] = -1e4;
  return start;
}

async function assertSameState(a: Engine, b: Engine): Promise<void> {
  const { name, difference } = await stateDifference(a, b);
  assert.ok(difference < 1e-4, `${name}: ${difference}`);
}

/** TopK without its auxiliary loss, of which cuda/auxk.test.ts has more. */
const largest = (k: number) => ({ k, kAux: 1, auxCoefficient: 0 });

/** Runs whose kernels differ: architectures and ablations, what is trained, sizes, dtypes, targets, densities. */
const RUNS: Readonly<Record<string, { readonly settings: EngineSettings; readonly bias: number }>> = {
  gated: { settings: small('gated'), bias: -1.5 },
  'gated, half full': { settings: small('gated', { beta1: 0.9 }), bias: 0 },
  standard: { settings: small('standard', { beta1: 0.9 }), bias: -1.5 },
  'standard, half full': { settings: small('standard'), bias: 0 },
  'topk, more than are above 0': { settings: small('topk', { options: largest(150), beta1: 0.9 }), bias: -0.3 },
  ...Object.fromEntries(
    VARIANTS.map((variant, i) => {
      const sizes = { dIn: 19, dSae: 90, batch: 14, deadWindow: 42, beta1: i % 2 === 0 ? 0 : 0.9 };
      return [JSON.stringify(variant), { settings: { ...smallSettings('gated', sizes), ...variant }, bias: -0.8 }];
    }),
  ),
  // Not a multiple of anything; rows of two warps; more tokens than are counted at a time; one of everything.
  'odd sizes': { settings: small('gated', { dIn: 17, dSae: 203, batch: 5, batchDType: 'float16' }), bias: -0.5 },
  'wide rows': { settings: small('standard', { dIn: 300, dSae: 70, batch: 9 }), bias: -0.5 },
  'many tokens': { settings: small('gated', { dIn: 9, dSae: 33, batch: 261 }), bias: -0.5 },
  'one of everything': {
    settings: small('standard', { dIn: 1, dSae: 1, batch: 1, batchDType: 'float16' }),
    bias: -0.5,
  },
  'a wider target': { settings: small('gated', { dOut: 290, scaleOut: 1.3, dSae: 70 }), bias: -0.5 },
  'a narrower target': {
    settings: small('standard', { dIn: 290, dOut: 9, scaleOut: 0.7, dSae: 70, batchDType: 'float16', beta1: 0.9 }),
    bias: -0.5,
  },
};
const STEPS = 6;
const HALVES = [0x3c00, 0xbc00, 0x3800, 0xb800, 0x4000, 0x0001, 0xb555];

/** Batches of the run's dtype, with a target where it has one. */
function feed(settings: EngineSettings): () => Batch {
  const { batch, dIn, dOut, batchDType } = settings;
  const rows = (width: number, seed: number) => {
    let t = seed;
    if (batchDType === 'float32') return batches({ ...settings, dIn: width }, seed);
    return () => {
      t++;
      return Uint16Array.from({ length: batch * width }, (_, k) => HALVES[(k * 5 + (k >> 3) + t) % 7]!);
    };
  };
  const x = rows(dIn, 3);
  if (dOut === undefined) return () => ({ x: x() });
  const y = rows(dOut, 4);
  return () => ({ x: x(), y: y() });
}

for (const [name, { settings, bias }] of Object.entries(RUNS)) {
  test(`${STEPS} steps agree with the reference engine: ${name}`, { skip }, async () => {
    const start = silence(randomStart(settings, bias), settings);
    const [reference, cuda] = [await openReferenceEngine(settings, start), await openOnCpu(settings, start)];
    await stepBoth(reference, cuda, STEPS, feed(settings));
    await assertSameState(cuda, reference);
    const state = await cuda.state();
    assert.deepEqual([...state.keys()], [...stateShapes(settings).keys()]);
    const { architecture, options } = settings;
    // With no term in π_gate, b_gate has no gradient.
    const gateless = JSON.stringify(options) === '{"ablate":["no-auxiliary","l1-on-f"]}';
    for (const parameter of PARAMETERS[architecture]) {
      const same = assert.deepEqual.bind(null, state.get(parameter)!, start.get(parameter)!);
      if (!(settings.trained ?? [parameter]).includes(parameter)) same(`${parameter} moves`);
      else if (settings.dSae > 1 && !(gateless && parameter === 'b_gate')) assert.throws(same, `${parameter} stays`);
    }
    const silent = SILENT.filter((j) => j < settings.dSae && settings.dSae > 1);
    for (const j of silent) assert.equal(state.get('since_fired')![j], STEPS * settings.batch);
    await Promise.all([reference.close(), cuda.close()]);
  });
}

for (const architecture of ['gated', 'standard'] as const) {
  for (const beta1 of [0, 0.9]) {
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

test('a step whose entries do not fit is repeated with more room, and changes nothing before', { skip }, async () => {
  const settings = small('gated');
  const [slices, start] = [4, randomStart(settings, 1)];
  const cuda = await openOnCpu(settings, start);
  const before = cuda.device.used;
  const x = batches(settings)();
  const { l0 } = await cuda.step({ x }, { lr: 1e-3, l1: 0.2 });
  assert.ok(l0 > 64, `${l0} active features a token would have fitted`);
  assert.equal(cuda.device.launches.get('gather'), 2 * slices);
  // A quarter more than requested, here limited to the maximum; 24 bytes each.
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
      for (let t = 0; t < 4; t++) metrics.push(await engine.step({ x: next() }, { lr: 1e-3, l1: 0.3 }));
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

test('steps may be requested ahead: each waits for the one before, and its batch for room', { skip }, async () => {
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

test('reading the state, and continuing from it, changes no bit of what follows', { skip }, async () => {
  // Few features are active, so that rows miss many decays.
  const settings = small('gated', { batch: 6 });
  const start = randomStart(settings, -2.5);
  const [whole, watched] = [await openOnCpu(settings, start), await openOnCpu(settings, start, 0, { settleEvery: 3 })];
  const step = { lr: 1e-3, l1: 0.2 };
  const [a, b] = [batches(settings), batches(settings)];
  for (let t = 0; t < 20; t++) {
    await whole.step({ x: a() }, step);
    await watched.step({ x: b() }, step);
    if (t % 7 === 3) await watched.state();
  }
  // At the start, when the state is read three times, and after every third step.
  assert.equal(watched.device.launches.get('settle'), 1 + 3 + 6);
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
