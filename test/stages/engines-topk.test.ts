import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { TopKOptions } from '../../src/sae/architectures/topk.js';
import { PARAMETERS, trainingOf } from '../../src/sae/registry.js';
import { square } from '../../src/sae/sae.js';
import type { EngineSettings } from '../../src/train/engines/engine.js';
import { chooseEngine } from '../../src/train/engines/open.js';
import { openReferenceEngine } from '../../src/train/engines/reference/engine.js';
import { openSparseEngine } from '../../src/train/engines/sparse/engine.js';
import { openGolden, relativeDifference } from '../golden.js';
import { batches, randomStart, smallSettings, stateDifference, stepBoth } from '../train/engines/problem.js';

const golden = openGolden('topk');
const OPTIONS: Readonly<Record<string, TopKOptions>> = {
  usual: { k: 3, kAux: 4, auxCoefficient: 1 / 32 },
  few: { k: 3, kAux: 2, auxCoefficient: 1 / 4 },
  none: { k: 3, kAux: 4, auxCoefficient: 0 },
  multi: { k: 3, kAux: 4, auxCoefficient: 1 / 32, multiTopk: true },
};
const ENGINES = { reference: openReferenceEngine, sparse: openSparseEngine };

/** k of 210 features, few enough fire that some are dead after 700 activations. */
function settings(options: Partial<TopKOptions> = {}, more: Partial<EngineSettings> = {}): EngineSettings {
  const chosen = { k: 6, kAux: 11, auxCoefficient: 1 / 32, ...options };
  return smallSettings('topk', { options: chosen, deadWindow: 210, ...more });
}

for (const [name, options] of Object.entries(OPTIONS)) {
  for (const [engineName, open] of Object.entries(ENGINES)) {
    if (options.multiTopk && open === openSparseEngine) continue;
    test(`ten topk steps (${name}) by the ${engineName} engine equal PyTorch autograd in float64`, async () => {
      const small = smallSettings('topk', { options, dIn: 8, dSae: 24, batch: 16, scale: 1, deadWindow: 24 });
      const start = new Map<string, Float32Array>();
      for (const parameter of PARAMETERS.topk) start.set(parameter, await (await golden).floats(parameter));
      const engine = await open(small, start);
      const [all, lr] = [await (await golden).floats('batches'), await (await golden).doubles('lr')];
      let dead = 0;
      for (let t = 0; t < 10; t++) {
        const metrics = await engine.step({ x: all.slice(t * 128, (t + 1) * 128) }, { lr: lr[t]!, l1: 0 });
        for (const term of ['mse', 'aux', 'l0'] as const) {
          const wanted = (await (await golden).doubles(`${name}/${term}`))[t]!;
          const found = metrics[term];
          assert.ok(Math.abs(found - wanted) <= 1e-5 * Math.abs(wanted), `step ${t}, ${term}: ${found}, not ${wanted}`);
        }
        // Dead before a step: after the one before.
        assert.equal(dead, (await (await golden).doubles(`${name}/dead`))[t]);
        ({ dead } = metrics);
        assert.equal(metrics.l1, 0);
      }
      const { parameters, forward } = await engine.sae();
      assert.deepEqual([forward?.k, forward?.rescale_acts_by_decoder_norm], [3, false]);
      for (const parameter of PARAMETERS.topk) {
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
  test(`200 topk steps of ${threads} workers agree with the reference engine`, async () => {
    const chosen = settings({}, { threads, beta1: threads === 2 ? 0.9 : 0 });
    const start = randomStart(chosen, -0.2);
    const [reference, sparse] = [await openReferenceEngine(chosen, start), await openSparseEngine(chosen, start)];
    await stepBoth(reference, sparse, 200, batches(chosen));
    const { name, difference } = await stateDifference(sparse, reference);
    assert.ok(difference < 1e-4, `${name}: ${difference}`);
    for (const engine of [reference, sparse]) await engine.close();
  });
}

test('of equal pre-activations the lower features are taken, by both engines', async () => {
  const chosen = settings({ k: 3 }, { dIn: 4, dSae: 64, batch: 8 });
  const start = randomStart(chosen, 0);
  // Every feature sees the same.
  for (const name of ['W_enc', 'b_enc', 'b_dec']) start.get(name)!.fill(name === 'b_enc' ? 10 : 0);
  for (const open of Object.values(ENGINES)) {
    const engine = await open(chosen, start);
    await engine.step({ x: batches(chosen)() }, { lr: 0, l1: 0 });
    const fired = [...(await engine.state()).get('since_fired')!].flatMap((since, j) => (since === 0 ? [j] : []));
    assert.deepEqual(fired, [0, 1, 2]);
    await engine.close();
  }
});

test('a batch whose errors are all equal has no auxiliary loss, and stays finite', async () => {
  const chosen = settings({ kAux: 4 }, { dIn: 6, dSae: 64, batch: 5, deadWindow: 1 });
  const one = batches({ ...chosen, batch: 1 })();
  const x = Float32Array.from({ length: 5 * 6 }, (_, i) => one[i % 6]!);
  for (const open of Object.values(ENGINES)) {
    const engine = await open(chosen, randomStart(chosen, -0.2));
    for (let t = 0; t < 3; t++) {
      const { aux, mse, written } = await engine.step({ x }, { lr: 1e-3, l1: 0 });
      assert.ok(aux === 0 && Number.isFinite(mse) && Number.isFinite(written), `${t}: ${aux}, ${mse}`);
    }
    await engine.close();
  }
});

test('auto takes the sparse engine, and CUDA can be asked for but for multi-TopK', () => {
  assert.equal(chooseEngine({ engine: 'auto' }, settings()), 'sparse');
  const cuda = { engine: 'cuda', device: 'cuda', experimental: true } as const;
  assert.equal(chooseEngine(cuda, settings()), 'cuda');
  assert.throws(() => chooseEngine(cuda, settings({ multiTopk: true })), { code: 'train/engine-cannot' });
});

test('k is needed and fits the dictionary; the rest has its usual value', () => {
  const { options } = trainingOf('topk');
  const code = { code: 'train/architecture-flags' };
  assert.throws(() => options({}, square(16, 64)), code);
  assert.throws(() => options({ k: 65 }, square(16, 64)), code);
  assert.throws(() => options({ k: 8, kAux: 65 }, square(16, 64)), code);
  assert.deepEqual(options({ k: 8 }, square(17, 64)), { k: 8, kAux: 8, auxCoefficient: 1 / 32 });
  assert.deepEqual(options({ k: 8 }, square(17, 5 + 4)), { k: 8, kAux: 8, auxCoefficient: 1 / 32 });
  assert.deepEqual(options({ k: 1, kAux: 3, auxCoefficient: 0 }, square(1, 4)), { k: 1, kAux: 3, auxCoefficient: 0 });
});

test('multi-TopK is trained by the reference engine alone, and of no more than 4 k features', () => {
  const multi = settings({ multiTopk: true });
  assert.equal(chooseEngine({ engine: 'auto' }, multi), 'reference');
  assert.throws(() => chooseEngine({ engine: 'sparse' }, multi), { code: 'train/engine-cannot' });
  const { options } = trainingOf('topk');
  assert.deepEqual(options({ k: 16, multiTopk: false }, square(8, 64)), options({ k: 16 }, square(8, 64)));
  assert.equal((options({ k: 16, multiTopk: true }, square(8, 64)) as TopKOptions).multiTopk, true);
  assert.throws(() => options({ k: 17, multiTopk: true }, square(8, 64)), { code: 'train/architecture-flags' });
});
