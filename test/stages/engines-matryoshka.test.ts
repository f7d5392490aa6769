import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MatryoshkaOptions } from '../../src/sae/architectures/matryoshka.js';
import { PARAMETERS, trainingOf } from '../../src/sae/registry.js';
import { square } from '../../src/sae/sae.js';
import type { EngineSettings } from '../../src/train/engines/engine.js';
import { openReferenceEngine } from '../../src/train/engines/reference/engine.js';
import { openSparseEngine } from '../../src/train/engines/sparse/engine.js';
import { openGolden, relativeDifference } from '../golden.js';
import { batches, randomStart, smallSettings, stateDifference, stepBoth } from '../train/engines/problem.js';

const golden = openGolden('matryoshka');
const prefixes = [5, 6, 14, 24];
const OPTIONS: Readonly<Record<string, MatryoshkaOptions>> = {
  sum: { k: 3, kAux: 4, auxCoefficient: 1 / 32, prefixes, prefixWeights: [1, 1, 1, 1] },
  weighted: { k: 3, kAux: 2, auxCoefficient: 1 / 4, prefixes, prefixWeights: [2, 1 / 2, 1, 1 / 4] },
  plain: { k: 3, kAux: 4, auxCoefficient: 0, prefixes, prefixWeights: [1, 1, 1, 1] },
};
const ENGINES = { reference: openReferenceEngine, sparse: openSparseEngine };

/** Prefixes that end within slices, and at their ends. */
function settings(options: Partial<MatryoshkaOptions> = {}, more: Partial<EngineSettings> = {}): EngineSettings {
  const widths = { prefixes: [3, 70, 105, 150, 210], prefixWeights: [1, 2, 0.5, 1, 0.7] };
  const chosen = { k: 6, kAux: 11, auxCoefficient: 1 / 32, ...widths, ...options };
  return smallSettings('matryoshka', { options: chosen, deadWindow: 210, ...more });
}

for (const [name, options] of Object.entries(OPTIONS)) {
  for (const [engineName, open] of Object.entries(ENGINES)) {
    test(`ten matryoshka steps (${name}) by the ${engineName} engine equal PyTorch autograd in float64`, async () => {
      const small = smallSettings('matryoshka', { options, dIn: 8, dSae: 24, batch: 16, scale: 1, deadWindow: 24 });
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
      for (const parameter of PARAMETERS.matryoshka) {
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
  test(`200 matryoshka steps of ${threads} workers agree with the reference engine`, async () => {
    const chosen = settings({}, { threads, beta1: threads === 2 ? 0.9 : 0 });
    const start = randomStart(chosen, -0.2);
    const [reference, sparse] = [await openReferenceEngine(chosen, start), await openSparseEngine(chosen, start)];
    await stepBoth(reference, sparse, 200, batches(chosen));
    const { name, difference } = await stateDifference(sparse, reference);
    assert.ok(difference < 1e-4, `${name}: ${difference}`);
    for (const engine of [reference, sparse]) await engine.close();
  });
}

async function stepsOn(chosen: EngineSettings, threads: number) {
  const engine = await openSparseEngine({ ...chosen, threads }, randomStart(chosen, -0.3));
  const next = batches(chosen);
  for (let t = 0; t < 30; t++) await engine.step({ x: next() }, { lr: 1e-3, l1: 0 });
  const state = await engine.state();
  await engine.close();
  return state;
}

test('1, 2 and 3 workers compute the same, and the same number the same bits', async () => {
  const chosen = settings({ k: 20, prefixes: [64, 300, 700], prefixWeights: [1, 1, 1] }, { dSae: 700 });
  const [one, two, again, three] = await Promise.all([1, 2, 2, 3].map((threads) => stepsOn(chosen, threads)));
  assert.deepEqual(again, two);
  for (const [name, values] of one!) {
    for (const other of [two!, three!]) {
      const difference = relativeDifference(other.get(name)!, values);
      assert.ok(difference < 1e-5, `${name}: ${difference}`);
    }
  }
});

test('with one prefix of weight 1, a matryoshka SAE is a batchtopk SAE', async () => {
  const chosen = settings({ prefixes: [210], prefixWeights: [1] });
  const { k, kAux, auxCoefficient } = chosen.options as MatryoshkaOptions;
  const plain: EngineSettings = { ...chosen, architecture: 'batchtopk', options: { k, kAux, auxCoefficient } };
  const [a, b] = [await stepsOn(chosen, 2), await stepsOn(plain, 2)];
  assert.deepEqual(a, b);
});

test('a target of another width is reconstructed by every prefix, with a skip connection or without', async () => {
  for (const more of [{ dOut: 37 }, { dOut: 9, skip: true as const }]) {
    const chosen = settings({}, { ...more, scaleOut: 1.2, threads: 2 });
    const start = randomStart(chosen, -0.2);
    const [reference, sparse] = [await openReferenceEngine(chosen, start), await openSparseEngine(chosen, start)];
    const [x, y] = [batches(chosen), batches({ ...chosen, dIn: more.dOut }, 5)];
    await stepBoth(reference, sparse, 30, () => ({ x: x(), y: y() }));
    const { name, difference } = await stateDifference(sparse, reference);
    assert.ok(difference < 1e-4, `${name}: ${difference}`);
    for (const engine of [reference, sparse]) await engine.close();
  }
});

test('prefixes ascend to the width of the dictionary, and have a weight each', () => {
  const { options } = trainingOf('matryoshka');
  const code = { code: 'train/architecture-flags' };
  for (const given of [
    { k: 8 },
    { prefixes: [16] },
    { k: 8, prefixes: [32, 16] },
    { k: 8, prefixes: [16, 16] },
    { k: 8, prefixes: [16, 65] },
    { k: 8, prefixes: [16, 32], prefixWeights: [1, 1] },
    { k: 65, prefixes: [16] },
  ]) {
    assert.throws(() => options(given, square(16, 64)), code, JSON.stringify(given));
  }
  const usual = { k: 8, kAux: 8, auxCoefficient: 1 / 32 };
  const whole = { ...usual, prefixes: [16, 64], prefixWeights: [1, 1] };
  assert.deepEqual(options({ k: 8, prefixes: [16] }, square(16, 64)), whole);
  assert.deepEqual(options({ k: 8, prefixes: [16, 64] }, square(16, 64)), whole);
  assert.deepEqual(options({ k: 8, prefixes: [16], prefixWeights: [0.5, 2] }, square(16, 64)), {
    ...usual,
    ...{ prefixes: [16, 64], prefixWeights: [0.5, 2] },
  });
});
