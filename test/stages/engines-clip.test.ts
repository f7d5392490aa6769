import assert from 'node:assert/strict';
import { test } from 'node:test';
import { PARAMETERS } from '../../src/sae/registry.js';
import type { EngineSettings } from '../../src/train/engines/engine.js';
import { chooseEngine } from '../../src/train/engines/open.js';
import { openReferenceEngine } from '../../src/train/engines/reference/engine.js';
import { openSparseEngine } from '../../src/train/engines/sparse/engine.js';
import { openGolden, relativeDifference } from '../golden.js';
import { batches, randomStart, smallSettings, stateDifference, stepBoth } from '../train/engines/problem.js';

for (const [name, open] of Object.entries({ reference: openReferenceEngine, sparse: openSparseEngine })) {
  test(`ten steps of the ${name} engine with clipped gradients equal PyTorch's clip_grad_norm_ in float64`, async () => {
    const golden = await openGolden('clip');
    const clipGradNorm = await golden.scalar('clip');
    const shape = { dIn: 12, dSae: 40, batch: 32, scale: 1, beta1: 0.9 };
    const start = new Map<string, Float32Array>();
    for (const parameter of PARAMETERS.gated) start.set(parameter, await golden.floats(parameter));
    const engine = await open(smallSettings('gated', { ...shape, clipGradNorm }), start);
    const x = await golden.floats('batches');
    const [lr, l1] = [await golden.doubles('lr'), await golden.doubles('l1')];
    for (let t = 0; t < 10; t++) {
      await engine.step({ x: x.slice(t * 384, (t + 1) * 384) }, { lr: lr[t]!, l1: l1[t]! });
    }
    const { parameters } = await engine.sae();
    for (const parameter of PARAMETERS.gated) {
      const wanted = await golden.doubles(`final/${parameter}`);
      const difference = relativeDifference(parameters[parameter]!, wanted);
      assert.ok(difference < 2e-5, `${parameter}: ${difference}`);
    }
    await engine.close();
  });
}

/** Norms that cut some steps and not others, and sparse or dense passes, with whatever is trained. */
const RUNS: readonly (readonly [string, EngineSettings, number])[] = [
  ['gated', smallSettings('gated', { clipGradNorm: 30 }), -1],
  ['gated, dense', smallSettings('gated', { clipGradNorm: 100, beta1: 0.9 }), 0],
  ['standard without W_enc', smallSettings('standard', { clipGradNorm: 20, trained: ['W_dec', 'b_dec', 'b_enc'] }), -1],
  [
    'topk',
    smallSettings('topk', { clipGradNorm: 5, deadWindow: 210, options: { k: 6, kAux: 11, auxCoefficient: 1 / 32 } }),
    0,
  ],
  [
    'matryoshka',
    smallSettings('matryoshka', {
      clipGradNorm: 5,
      options: { k: 6, kAux: 11, auxCoefficient: 1 / 32, prefixes: [50, 210], prefixWeights: [1, 1] },
    }),
    0,
  ],
  ['jumprelu', smallSettings('jumprelu', { clipGradNorm: 10 }), -1],
  ['skip transcoder', smallSettings('gated', { clipGradNorm: 30, dOut: 17, scaleOut: 1.1, skip: true }), -1],
];

for (const [name, settings, bias] of RUNS) {
  test(`clipped steps of a ${name} SAE agree with the reference engine, for one worker and three`, async () => {
    const start = randomStart(settings, bias);
    if (start.has('threshold')) start.get('threshold')!.fill(0.05);
    for (const threads of [1, 3]) {
      const reference = await openReferenceEngine(settings, start);
      const sparse = await openSparseEngine({ ...settings, threads }, start);
      const x = batches(settings);
      const y = settings.dOut === undefined ? undefined : batches({ ...settings, dIn: settings.dOut }, 5);
      await stepBoth(reference, sparse, 40, () => ({ x: x(), ...(y && { y: y() }) }));
      const { name: array, difference } = await stateDifference(reference, sparse);
      assert.ok(difference < 1e-3, `${threads} workers, ${array}: ${difference}`);
      await Promise.all([reference.close(), sparse.close()]);
    }
  });
}

test('a norm that no gradient reaches changes nothing, to the bit', async () => {
  const settings = smallSettings('gated');
  const start = randomStart(settings, -1);
  const states = [];
  for (const clipGradNorm of [undefined, 1e9]) {
    const engine = await openSparseEngine({ ...settings, ...(clipGradNorm && { clipGradNorm }) }, start);
    const x = batches(settings);
    for (let t = 0; t < 5; t++) await engine.step({ x: x() }, { lr: 1e-3, l1: 0.3 });
    states.push(await engine.state());
    await engine.close();
  }
  assert.deepEqual(states[1], states[0]);
});

test('--engine cuda refuses to clip', () => {
  const settings = smallSettings('standard', { clipGradNorm: 1 });
  const flags = { engine: 'cuda', device: 'cuda', experimental: true } as const;
  assert.throws(() => chooseEngine(flags, settings), { code: 'train/engine-cannot' });
  assert.equal(chooseEngine({ engine: 'auto' }, settings), 'sparse');
});
