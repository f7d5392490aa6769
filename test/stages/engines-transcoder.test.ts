import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generator } from '../../src/random/generator.js';
import { parametersOf } from '../../src/sae/registry.js';
import type { ArchitectureName } from '../../src/sae/sae.js';
import type { EngineSettings } from '../../src/train/engines/engine.js';
import { chooseEngine } from '../../src/train/engines/open.js';
import { openReferenceEngine } from '../../src/train/engines/reference/engine.js';
import { openSparseEngine } from '../../src/train/engines/sparse/engine.js';
import { openGolden, relativeDifference } from '../golden.js';
import { batches, randomStart, smallSettings, stateDifference, stepBoth } from '../train/engines/problem.js';

const golden = openGolden('transcoder');
const ENGINES = { reference: openReferenceEngine, sparse: openSparseEngine };
const [D_IN, D_OUT, D_SAE, BATCH] = [7, 9, 24, 16];
const OPTIONS: Partial<Record<ArchitectureName, unknown>> = { topk: { k: 3, kAux: 2, auxCoefficient: 1 / 4 } };

for (const architecture of ['standard', 'gated', 'topk'] as const) {
  for (const skip of [undefined, true] as const) {
    const name = `${architecture}${skip ? '-skip' : ''}`;
    for (const [engineName, open] of Object.entries(ENGINES)) {
      test(`ten steps of a ${name} transcoder by the ${engineName} engine equal PyTorch autograd in float64`, async () => {
        const settings: EngineSettings = {
          ...smallSettings(architecture, { dIn: D_IN, dOut: D_OUT, dSae: D_SAE, batch: BATCH, scale: 1, scaleOut: 1 }),
          ...{ deadWindow: 24, options: OPTIONS[architecture], threads: 1, skip },
        };
        const parameters = parametersOf({ architecture, skip });
        const start = new Map<string, Float32Array>();
        for (const one of parameters) start.set(one, await (await golden).floats(`${architecture}/start/${one}`));
        const engine = await open(settings, start);
        const [x, y] = [await (await golden).floats('x'), await (await golden).floats('y')];
        const [lr, l1] = [await (await golden).doubles('lr'), await (await golden).doubles('l1')];
        const rows = (values: Float32Array, t: number, d: number) => values.slice(t * BATCH * d, (t + 1) * BATCH * d);
        for (let t = 0; t < 10; t++) {
          const found = await engine.step({ x: rows(x, t, D_IN), y: rows(y, t, D_OUT) }, { lr: lr[t]!, l1: l1[t]! });
          for (const [term, value] of [
            ['mse', found.mse],
            ['l1_term', found.l1],
            ['aux', found.aux],
            ['l0', found.l0],
          ] as const) {
            const wanted = (await (await golden).doubles(`${name}/${term}`))[t]!;
            assert.ok(
              Math.abs(value - wanted) <= 1e-5 * Math.abs(wanted),
              `step ${t}, ${term}: ${value}, not ${wanted}`,
            );
          }
        }
        const sae = await engine.sae();
        assert.deepEqual([sae.transcoder, sae.skip, sae.forward!.apply_b_dec_to_input], [true, skip, false]);
        for (const one of parameters) {
          const difference = relativeDifference(sae.parameters[one]!, await (await golden).doubles(`${name}/${one}`));
          assert.ok(difference < 2e-5, `${one}: ${difference}`);
        }
        await engine.close();
      });
    }
  }
}

/** Batches with a target of another width. */
function pairs(settings: EngineSettings) {
  const [x, y] = [batches(settings), batches({ ...settings, dIn: settings.dOut! }, 4)];
  return () => ({ x: x(), y: y() });
}

const SKIPPING: readonly (readonly [ArchitectureName, unknown, number])[] = [
  ['standard', undefined, 1],
  ['gated', undefined, 2],
  ['gated', { ablate: ['unfrozen-decoder'] }, 3],
  ['topk', { k: 6, kAux: 11, auxCoefficient: 1 / 32 }, 3],
];

for (const [architecture, options, threads] of SKIPPING) {
  test(`200 steps with a skip connection (${architecture}, ${threads} workers) agree with the reference engine`, async () => {
    const settings = smallSettings(architecture, {
      ...{ dOut: 31, scaleOut: 1.3, skip: true, options, threads, deadWindow: 210, beta1: threads === 2 ? 0.9 : 0 },
    });
    const start = randomStart(settings, -0.2);
    const random = new Generator(5);
    start.set(
      'W_skip',
      Float32Array.from({ length: 31 * settings.dIn }, () => 0.1 * random.normal()),
    );
    const [reference, sparse] = [await openReferenceEngine(settings, start), await openSparseEngine(settings, start)];
    await stepBoth(reference, sparse, 200, pairs(settings));
    const { name, difference } = await stateDifference(sparse, reference);
    assert.ok(difference < 1e-4, `${name}: ${difference}`);
    // A whole state goes into either engine, and is the same when it comes out.
    await sparse.load(await reference.state());
    assert.equal((await stateDifference(sparse, reference)).difference, 0);
    for (const engine of [reference, sparse]) await engine.close();
  });
}

test('a skip connection that is not trained keeps its bits, and one trained alone leaves the rest', async () => {
  for (const open of Object.values(ENGINES)) {
    for (const only of [['W_skip'], ['W_enc', 'W_dec', 'b_enc', 'b_dec']] as const) {
      const settings = smallSettings('standard', { dOut: 31, scaleOut: 1, skip: true, trained: only });
      const start = randomStart(settings, -0.2);
      start.set('W_skip', new Float32Array(31 * settings.dIn).fill(0.01));
      const engine = await open(settings, start);
      const next = pairs(settings);
      for (let t = 0; t < 3; t++) await engine.step(next(), { lr: 1e-3, l1: 0.1 });
      const state = await engine.state();
      for (const name of parametersOf({ architecture: 'standard', skip: true })) {
        const moved = relativeDifference(state.get(name)!, start.get(name)!) > 1e-6;
        assert.equal(moved, (only as readonly string[]).includes(name), name);
      }
      await engine.close();
    }
  }
});

test('the CUDA engine says that it has no skip connection', () => {
  const settings = smallSettings('standard', { dOut: 31, skip: true });
  const cuda = { engine: 'cuda', device: 'cuda', experimental: true } as const;
  assert.throws(() => chooseEngine(cuda, settings), { code: 'train/engine-cannot' });
  assert.equal(chooseEngine({ engine: 'auto' }, settings), 'sparse');
});
