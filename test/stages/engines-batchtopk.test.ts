import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { BatchTopKOptions } from '../../src/sae/architectures/batchtopk.js';
import { PARAMETERS, trainingOf } from '../../src/sae/registry.js';
import { square } from '../../src/sae/sae.js';
import type { EngineSettings } from '../../src/train/engines/engine.js';
import { chooseEngine } from '../../src/train/engines/open.js';
import { openReferenceEngine } from '../../src/train/engines/reference/engine.js';
import { openSparseEngine } from '../../src/train/engines/sparse/engine.js';
import { openGolden, relativeDifference } from '../golden.js';
import { batches, randomStart, smallSettings, stateDifference, stepBoth } from '../train/engines/problem.js';

const golden = openGolden('batchtopk');
const OPTIONS: Readonly<Record<string, BatchTopKOptions>> = {
  usual: { k: 3, kAux: 4, auxCoefficient: 1 / 32 },
  few: { k: 3, kAux: 2, auxCoefficient: 1 / 4 },
  none: { k: 3, kAux: 4, auxCoefficient: 0 },
};
const ENGINES = { reference: openReferenceEngine, sparse: openSparseEngine };

/** 6 of 210 features on average, few enough that some are dead after 210 activations. */
function settings(options: Partial<BatchTopKOptions> = {}, more: Partial<EngineSettings> = {}): EngineSettings {
  const chosen = { k: 6, kAux: 11, auxCoefficient: 1 / 32, ...options };
  return smallSettings('batchtopk', { options: chosen, deadWindow: 210, ...more });
}

for (const [name, options] of Object.entries(OPTIONS)) {
  for (const [engineName, open] of Object.entries(ENGINES)) {
    test(`ten batchtopk steps (${name}) by the ${engineName} engine equal PyTorch autograd in float64`, async () => {
      const small = smallSettings('batchtopk', { options, dIn: 8, dSae: 24, batch: 16, scale: 1, deadWindow: 24 });
      const start = new Map<string, Float32Array>();
      for (const parameter of ['W_enc', 'W_dec', 'b_dec', 'b_enc'])
        start.set(parameter, await (await golden).floats(parameter));
      const engine = await open(small, start);
      const [all, lr] = [await (await golden).floats('batches'), await (await golden).doubles('lr')];
      for (let t = 0; t < 10; t++) {
        const metrics = await engine.step({ x: all.slice(t * 128, (t + 1) * 128) }, { lr: lr[t]!, l1: 0 });
        for (const term of ['mse', 'aux', 'l0'] as const) {
          const wanted = (await (await golden).doubles(`${name}/${term}`))[t]!;
          const found = metrics[term];
          assert.ok(Math.abs(found - wanted) <= 1e-5 * Math.abs(wanted), `step ${t}, ${term}: ${found}, not ${wanted}`);
        }
      }
      const { parameters } = await engine.sae();
      for (const parameter of PARAMETERS.batchtopk) {
        const difference = relativeDifference(
          parameters[parameter]!,
          await (await golden).doubles(`${name}/${parameter}`),
        );
        assert.ok(difference < 2e-5, `${parameter}: ${difference}`);
      }
      await engine.close();
    });
  }
}

for (const threads of [1, 2, 3]) {
  test(`200 batchtopk steps of ${threads} workers agree with the reference engine`, async () => {
    const chosen = settings({}, { threads, beta1: threads === 2 ? 0.9 : 0 });
    const start = randomStart(chosen, -0.2);
    const [reference, sparse] = [await openReferenceEngine(chosen, start), await openSparseEngine(chosen, start)];
    await stepBoth(reference, sparse, 200, batches(chosen));
    const { name, difference } = await stateDifference(sparse, reference);
    assert.ok(difference < 1e-4, `${name}: ${difference}`);
    for (const engine of [reference, sparse]) await engine.close();
  });
}

/** Steps on batches whose size changes, so that guesses of the smallest fail. */
async function stepsOn(chosen: EngineSettings, threads: number, sizes: readonly number[]) {
  const engine = await openSparseEngine({ ...chosen, threads }, randomStart(chosen, -0.3));
  const next = batches(chosen);
  const l0: number[] = [];
  for (const size of sizes) {
    const x = next().map((value) => value * size);
    l0.push((await engine.step({ x }, { lr: 1e-3, l1: 0 })).l0);
  }
  const state = await engine.state();
  await engine.close();
  return { state, l0 };
}

const SIZES = [1, 1.01, 0.99, 0.2, 5, 5, 0, 1, 0.01, 1, 1];

test('1, 2 and 3 workers compute the same, and the same number the same bits', async () => {
  const chosen = settings({ k: 20 }, { dSae: 700, batch: 90 });
  const [one, two, again, three] = await Promise.all([1, 2, 2, 3].map((n) => stepsOn(chosen, n, SIZES)));
  assert.deepEqual(again, two);
  for (const [name, values] of one!.state) {
    for (const other of [two!.state, three!.state]) {
      const difference = relativeDifference(other.get(name)!, values);
      assert.ok(difference < 1e-5, `${name}: ${difference}`);
    }
  }
  // Where the batch has them, exactly k per token are kept on average.
  for (const [t, l0] of one!.l0.entries()) if (SIZES[t]! > 0.5) assert.equal(l0, 20, `step ${t}`);
});

test('batches of changing size are selected from as by the reference engine', async () => {
  const chosen = settings({ k: 9 });
  const start = randomStart(chosen, -0.3);
  const [reference, sparse] = [await openReferenceEngine(chosen, start), await openSparseEngine(chosen, start)];
  const next = batches(chosen);
  let step = 0;
  await stepBoth(reference, sparse, SIZES.length, () => {
    const size = SIZES[step++]!;
    return next().map((value) => value * size);
  });
  const { name, difference } = await stateDifference(sparse, reference);
  assert.ok(difference < 1e-4, `${name}: ${difference}`);
  for (const engine of [reference, sparse]) await engine.close();
});

test('an engine that begins in the middle of a run, without a guess, computes the same bits', async () => {
  const chosen = settings({ k: 12 }, { dSae: 500 });
  const [next, again] = [batches(chosen), batches(chosen)];
  const step = { lr: 1e-3, l1: 0 };
  const whole = await openSparseEngine(chosen, randomStart(chosen, -0.3));
  for (let t = 0; t < 6; t++) await whole.step({ x: next() }, step);
  const half = await openSparseEngine(chosen, await whole.state(), 6);
  for (let t = 0; t < 6; t++) again();
  for (let t = 0; t < 6; t++) {
    assert.deepEqual(await half.step({ x: again() }, step), await whole.step({ x: next() }, step));
  }
  assert.deepEqual(await half.state(), await whole.state());
  for (const engine of [half, whole]) await engine.close();
});

test('of equal pre-activations the lower features are taken, then the lower tokens, by both engines', async () => {
  // k · B entries are k whole features.
  for (const [k, fired] of [
    [3, [0, 1, 2]],
    [1, [0]],
  ] as const) {
    for (const threads of [1, 3]) {
      const chosen = settings({ k }, { dIn: 4, dSae: 200, batch: 8, threads });
      const start = randomStart(chosen, 0);
      for (const name of ['W_enc', 'b_enc', 'b_dec']) start.get(name)!.fill(name === 'b_enc' ? 10 : 0);
      for (const open of Object.values(ENGINES)) {
        const engine = await open(chosen, start);
        for (let t = 0; t < 2; t++) await engine.step({ x: batches(chosen)() }, { lr: 0, l1: 0 });
        const since = (await engine.state()).get('since_fired')!;
        assert.deepEqual(
          [...since].flatMap((age, j) => (age === 0 ? [j] : [])),
          fired,
        );
        await engine.close();
      }
    }
  }
});

test('where fewer are above 0 than are wanted, all are kept; where none is, the threshold stays', async () => {
  const chosen = settings({ k: 20 }, { dSae: 128, batch: 10 });
  const start = randomStart(chosen, -2.5);
  start.get('threshold')!.fill(0.25);
  const [reference, sparse] = [await openReferenceEngine(chosen, start), await openSparseEngine(chosen, start)];
  await stepBoth(reference, sparse, 5, batches(chosen));
  const { name, difference } = await stateDifference(sparse, reference);
  assert.ok(difference < 1e-4, `${name}: ${difference}`);
  const before = (await sparse.state()).get('threshold')!;
  for (const engine of [reference, sparse]) {
    const silent = new Float32Array(chosen.batch * chosen.dIn);
    const state = new Map(await engine.state());
    state.get('b_enc')!.fill(-9);
    state.get('b_dec')!.fill(0);
    await engine.load(state);
    const { l0 } = await engine.step({ x: silent }, { lr: 0, l1: 0 });
    assert.equal(l0, 0);
    assert.ok(relativeDifference((await engine.state()).get('threshold')!, before) < 1e-6);
    await engine.close();
  }
});

test('NaN in a batch or in the weights reaches the loss', async () => {
  const chosen = settings({}, { dSae: 300 });
  const x = batches(chosen)();
  const poisoned = x.slice();
  poisoned[100] = Number.NaN;
  const engine = await openSparseEngine(chosen, randomStart(chosen, -0.3));
  assert.ok(Number.isFinite((await engine.step({ x }, { lr: 0, l1: 0 })).mse));
  assert.ok(Number.isNaN((await engine.step({ x: poisoned }, { lr: 0, l1: 0 })).mse));
  await engine.close();
});

test('auto takes the sparse engine', () => {
  assert.equal(chooseEngine({ engine: 'auto' }, settings()), 'sparse');
});

test('k is needed and fits the dictionary', () => {
  const { options } = trainingOf('batchtopk');
  const code = { code: 'train/architecture-flags' };
  assert.throws(() => options({}, square(16, 64)), code);
  assert.throws(() => options({ k: 65 }, square(16, 64)), code);
  assert.deepEqual(options({ k: 8 }, square(17, 64)), { k: 8, kAux: 8, auxCoefficient: 1 / 32 });
});
