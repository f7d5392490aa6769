import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JumpReluOptions } from '../../src/sae/architectures/jumprelu.js';
import { PARAMETERS, trainingOf } from '../../src/sae/registry.js';
import { square } from '../../src/sae/sae.js';
import type { EngineSettings } from '../../src/train/engines/engine.js';
import { chooseEngine } from '../../src/train/engines/open.js';
import { openReferenceEngine } from '../../src/train/engines/reference/engine.js';
import { openSparseEngine } from '../../src/train/engines/sparse/engine.js';
import { architectureSettings } from '../../src/train/run-settings.js';
import { refusesUsage } from '../config/refuses.js';
import { openGolden, relativeDifference } from '../golden.js';
import { batches, randomStart, smallSettings, stateDifference, stepBoth } from '../train/engines/problem.js';

const golden = openGolden('jumprelu');
const PLAIN = { steToEncoder: false, preActLoss: 0 };
const ALL = { steToEncoder: true, preActLoss: 0.02 };
const TANH = { sparsityLoss: 'tanh', tanhScale: 4 } as const;
const QUADRATIC = { sparsityLoss: 'quadratic', targetL0: 3 } as const;
/** The cases of scripts/golden_jumprelu.py. */
const OPTIONS: Readonly<Record<string, JumpReluOptions>> = {
  step: { sparsityLoss: 'step', bandwidth: 0.4, ...PLAIN },
  step_encoder: { sparsityLoss: 'step', bandwidth: 0.4, ...ALL },
  tanh: { ...TANH, bandwidth: 0.4, ...ALL, steToEncoder: false },
  tanh_encoder: { ...TANH, bandwidth: 1, ...ALL },
  quadratic: { ...QUADRATIC, bandwidth: 0.4, ...PLAIN },
  quadratic_encoder: { ...QUADRATIC, bandwidth: 0.2, ...ALL },
};
const ENGINES = { reference: openReferenceEngine, sparse: openSparseEngine };

/** About 40 of 210 features fire at a `bias` of −0.2, few at −1.5; some are dead after 210 activations. */
function settings(options: Partial<JumpReluOptions> = {}, more: Partial<EngineSettings> = {}): EngineSettings {
  const chosen = { ...OPTIONS.step_encoder!, preActLoss: 1e-3, ...options };
  return smallSettings('jumprelu', { options: chosen, deadWindow: 210, ...more });
}

/** Thresholds from 0 on, biases around `bias`. */
function startOf(chosen: EngineSettings, bias: number) {
  const start = randomStart(chosen, bias);
  start.set(
    'threshold',
    start.get('threshold')!.map((value) => Math.max(0, 0.2 + 2 * value)),
  );
  return start;
}

for (const [name, options] of Object.entries(OPTIONS)) {
  for (const [engineName, open] of Object.entries(ENGINES)) {
    test(`ten jumprelu steps (${name}) by the ${engineName} engine equal PyTorch autograd in float64`, async () => {
      const small = smallSettings('jumprelu', { options, dIn: 8, dSae: 24, batch: 16, scale: 1, deadWindow: 24 });
      const start = new Map<string, Float32Array>();
      for (const parameter of PARAMETERS.jumprelu) start.set(parameter, await (await golden).floats(parameter));
      const engine = await open(small, start);
      const [all, lr] = [await (await golden).doubles('batches'), await (await golden).doubles('lr')];
      let dead = 0;
      for (let t = 0; t < 10; t++) {
        const x = Float32Array.from(all.subarray(t * 128, (t + 1) * 128));
        const metrics = await engine.step({ x }, { lr: lr[t]!, l1: 0.05 });
        for (const [term, there] of [
          ['mse', 'mse'],
          ['l1', 'l1_term'],
          ['aux', 'aux'],
          ['l0', 'l0'],
        ] as const) {
          const wanted = (await (await golden).doubles(`${name}/${there}`))[t]!;
          const found = metrics[term];
          assert.ok(Math.abs(found - wanted) <= 1e-5 * Math.abs(wanted), `step ${t}, ${term}: ${found}, not ${wanted}`);
        }
        // Dead before a step: after the one before.
        assert.equal(dead, (await (await golden).doubles(`${name}/dead`))[t]);
        ({ dead } = metrics);
      }
      const { parameters } = await engine.sae();
      for (const parameter of PARAMETERS.jumprelu) {
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

/** How many features fire decides whether strips are listed or passed through densely. */
const RUNS: readonly (readonly [string, number, Partial<JumpReluOptions>, Partial<EngineSettings>])[] = [
  ['listed, step', -1.2, {}, { threads: 1 }],
  ['listed, tanh, β1 = 0.9', -1.2, TANH, { threads: 2, beta1: 0.9 }],
  ['listed, quadratic', -1.2, { ...QUADRATIC, targetL0: 20 }, { threads: 3 }],
  ['a narrow kernel, the encoder without it', -1.1, { bandwidth: 0.01, steToEncoder: false }, { threads: 2 }],
  ['dense at first, step', 0, { preActLoss: 0.1 }, { threads: 1 }],
  ['dense at first, tanh', 0, TANH, { threads: 3, beta1: 0.9 }],
  ['dense at first, quadratic', 0, { ...QUADRATIC, targetL0: 40 }, { threads: 2 }],
];

for (const [what, bias, options, more] of RUNS) {
  test(`200 jumprelu steps agree with the reference engine: ${what}`, async () => {
    const chosen = settings(options, more);
    const start = startOf(chosen, bias);
    const [reference, sparse] = [await openReferenceEngine(chosen, start), await openSparseEngine(chosen, start)];
    assert.equal(sparse.workers, more.threads);
    await stepBoth(reference, sparse, 200, batches(chosen));
    const { name, difference } = await stateDifference(sparse, reference);
    assert.ok(difference < 1e-4, `${name}: ${difference}`);
    for (const engine of [reference, sparse]) await engine.close();
  });
}

test('flags are checked and completed', () => {
  const { options, adjustsTo, usualL1 } = trainingOf('jumprelu');
  const of = (flags: Readonly<Record<string, unknown>>) => options(flags, square(16, 64)) as JumpReluOptions;
  const usual = { bandwidth: 0.5, steToEncoder: true, preActLoss: 0 };
  assert.deepEqual(of({}), { sparsityLoss: 'step', ...usual });
  assert.deepEqual(of({ sparsityLoss: 'tanh' }), { sparsityLoss: 'tanh', tanhScale: 4, ...usual });
  const quadratic = { l0: 32, sparsityLoss: 'quadratic' };
  assert.deepEqual(of(quadratic), { sparsityLoss: 'quadratic', targetL0: 32, ...usual });
  assert.deepEqual(of({ steToEncoder: false, thresholdInit: 0.1 }), {
    ...{ sparsityLoss: 'step', ...usual, steToEncoder: false, thresholdInit: 0.1 },
  });
  // A penalty that leads to --l0 by itself is adjusted to a little more.
  assert.deepEqual([of(quadratic), of({ l0: 32 })].map(adjustsTo!), [1.05, 1]);
  assert.ok([quadratic, {}].map((flags) => usualL1!(of(flags))).every((l1) => l1 > 0));
  const code = { code: 'train/architecture-flags' };
  assert.throws(() => of({ sparsityLoss: 'quadratic' }), code);
  assert.throws(() => of({ tanhScale: 2 }), code);
  for (const more of [{ start: 'sparse' }, { start: 'zero', init: 'x' }]) {
    assert.throws(() => of({ thresholdInit: 0.1, ...more }), code);
  }
});

test('the convention of the paper, in which a penalty scales with the activations, is refused', async () => {
  for (const more of [{}, { sparsityLoss: 'tanh' }, { l0: 8 }]) {
    const of = (l1Convention: string) => () =>
      architectureSettings({ arch: 'jumprelu', l1Convention, ...more } as never, square(16, 64));
    await refusesUsage(of('paper'), 'train/l1-convention', '--l1-convention paper');
    of('sums')();
  }
});

test('auto takes the sparse engine, and CUDA can be asked for', () => {
  assert.equal(chooseEngine({ engine: 'auto' }, settings()), 'sparse');
  const cuda = { engine: 'cuda', device: 'cuda', experimental: true } as const;
  assert.equal(chooseEngine(cuda, settings()), 'cuda');
});

test('workers agree, and the same run gives the same bits', async () => {
  const run = async (threads: number) => {
    const chosen = settings({ ...QUADRATIC, targetL0: 20 }, { threads, dSae: 330 });
    const start = startOf(chosen, -1);
    const engine = await openSparseEngine(chosen, start);
    const next = batches(chosen);
    for (let t = 0; t < 50; t++) await engine.step({ x: next() }, { lr: 3e-4, l1: 0.3 });
    const state = await engine.state();
    await engine.close();
    return state;
  };
  const [one, two, again, three] = [await run(1), await run(2), await run(2), await run(3)];
  assert.deepEqual(again, two);
  for (const [name, values] of one) {
    for (const other of [two, three]) {
      const difference = relativeDifference(other.get(name)!, values);
      assert.ok(difference < 1e-5, `${name}: ${difference}`);
    }
  }
});
