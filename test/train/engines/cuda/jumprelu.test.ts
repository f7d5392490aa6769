import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { JumpReluOptions } from '../../../../src/sae/architectures/jumprelu.js';
import type { CudaOverrides } from '../../../../src/train/engines/cuda/cuda-engine.js';
import type { EngineSettings, TrainerState } from '../../../../src/train/engines/engine.js';
import { openInputLosses } from '../../../../src/train/input-losses.js';
import { batches, randomStart, smallSettings } from '../problem.js';
import { agreesWithReference, cudaSteps } from './agreement.js';
import { withoutCompiler } from './compiler.js';
import type { CpuDeviceOptions } from './cpu-device.js';
import { openOnCpu } from './open-on-cpu.js';

const skip = withoutCompiler;
/** Takes minutes, or compiles kernels that no other test does. */
const LONG = process.env.SAE_PIPE_LONG === '1';
const onDemand = skip || (!LONG && 'takes long: SAE_PIPE_LONG=1');
const ORDERS = LONG ? (['shuffled', 'backwards'] as const) : (['shuffled'] as const);
const BANDWIDTH = 0.5;
const jumps = (more: Partial<JumpReluOptions>): JumpReluOptions => ({
  ...{ sparsityLoss: 'step', bandwidth: BANDWIDTH, steToEncoder: true, preActLoss: 0 },
  ...more,
});
/** A feature is dead that did not fire during two steps. */
const small = (options: Partial<JumpReluOptions>, more: Partial<EngineSettings> = {}) =>
  smallSettings('jumprelu', { dSae: 130, batch: 13, deadWindow: 26, options: jumps(options), ...more });
const QUADRATIC = small({ sparsityLoss: 'quadratic', targetL0: 12, preActLoss: 1e-2 });
/** Slices of which more are entries are passed by products: those of dead features alone, if they are to be revived. */
const MIXED = { denseShare: 0.6, partEntries: 5 } as const;
const step = { lr: 1e-3, l1: 0.3 };

/** θ is above 0. Some features are far below theirs: one amid others, and all of a slice. */
function startOf(settings: EngineSettings): Map<string, Float32Array> {
  const start = randomStart(settings, -0.8);
  start.set(
    'threshold',
    start.get('threshold')!.map((theta) => Math.abs(theta) + 0.02),
  );
  start.get('b_enc')!.forEach((_, j, biases) => {
    if (j === 3 || (j >= 64 && j < 128)) biases[j] = -9;
  });
  return start;
}

const run = (
  settings: EngineSettings,
  start: TrainerState,
  steps: readonly [number, number],
  options: CpuDeviceOptions & CudaOverrides = {},
) => cudaSteps(settings, start, steps, step, { ...MIXED, ...options });

async function agrees(settings: EngineSettings, steps: number, bound: number, options: CudaOverrides = MIXED) {
  const start = startOf(settings);
  return { start, ...(await agreesWithReference(settings, start, { steps, bound }, options)) };
}

test('ten steps of a jumprelu SAE agree with the reference engine, dead features and dense slices among them', {
  skip,
}, async () => {
  const { start, state, launches } = await agrees(QUADRATIC, 10, 1e-4);
  assert.ok(launches.get('denseFeatures')! > 0 && launches.get('gather')! > launches.get('denseFeatures')!);
  // Dead features are pulled up, θ falls by the same, and it stays above 0.
  for (const j of [3, 64, 127]) {
    assert.equal(state.get('since_fired')![j], 10 * QUADRATIC.batch);
    assert.ok(state.get('b_enc')![j]! > start.get('b_enc')![j]!);
    assert.ok(state.get('threshold')![j]! < start.get('threshold')![j]!);
  }
  assert.ok(Math.min(...state.get('threshold')!) >= 0);
});

test('steps of a jumprelu SAE give the same bits in every order, and continued from a checkpoint', {
  skip,
}, async () => {
  const start = startOf(QUADRATIC);
  const whole = await run(QUADRATIC, start, [0, 4]);
  assert.ok(whole.metrics[1]!.aux === 0 && whole.metrics[2]!.aux > 0);
  for (const order of ORDERS) {
    const again = await run(QUADRATIC, start, [0, 4], { order, uploads: 'late' });
    assert.deepEqual([again.metrics, again.state], [whole.metrics, whole.state]);
  }
  const first = await run(QUADRATIC, start, [0, 3]);
  const rest = await run(QUADRATIC, first.state, [3, 4]);
  assert.deepEqual([...first.metrics, ...rest.metrics], whole.metrics);
  assert.deepEqual(rest.state, whole.state);
});

test('NaN in the weights of a jumprelu SAE reaches the loss', { skip }, async () => {
  const start = startOf(QUADRATIC);
  start.get('W_enc')![5] = Number.NaN;
  const { metrics } = await run(QUADRATIC, start, [0, 1]);
  assert.ok(Number.isNaN(metrics[0]!.mse));
});

/** Kernels that differ: penalties, estimators, targets, moments, frozen parameters; listed, and by products alone. */
const RUNS: Readonly<Record<string, readonly [settings: EngineSettings, options: CudaOverrides]>> = {
  step: [small({}), {}],
  'step, by products': [small({ preActLoss: 1e-3 }, { beta1: 0.9 }), { denseShare: 0 }],
  'tanh, revived': [small({ sparsityLoss: 'tanh', tanhScale: 4, preActLoss: 1e-2 }, { beta1: 0.9 }), {}],
  'tanh, encoder without estimators': [small({ sparsityLoss: 'tanh', tanhScale: 2, steToEncoder: false }), MIXED],
  'quadratic, another target': [
    small({ sparsityLoss: 'quadratic', targetL0: 9, preActLoss: 1e-2 }, { dOut: 35, scaleOut: 1.2 }),
    { partEntries: 2 },
  ],
  'θ frozen': [small({ preActLoss: 1e-2 }, { trained: ['W_enc', 'W_dec', 'b_enc', 'b_dec'] }), MIXED],
  'θ alone': [small({ bandwidth: 2, preActLoss: 1e-2 }, { trained: ['threshold'], beta1: 0.9 }), {}],
  'wide rows': [small({ preActLoss: 1e-2 }, { dIn: 290, dSae: 150 }), MIXED],
};

for (const [name, [settings, options]] of Object.entries(RUNS)) {
  test(`steps of a jumprelu SAE agree: ${name}`, { skip: onDemand }, async () => {
    await agrees(settings, 8, 1e-4, options);
  });
}

test('hundreds of steps of a jumprelu SAE agree', { skip: onDemand }, async () => {
  await agrees(QUADRATIC, 300, 1e-2);
});

test('losses of single inputs of a jumprelu SAE are those of a plain graph', { skip: onDemand }, async () => {
  for (const sparsityLoss of ['step', 'tanh', 'quadratic'] as const) {
    const settings = small({ sparsityLoss, tanhScale: 4, targetL0: 12 });
    const engine = await openOnCpu(settings, startOf(settings), 0, MIXED);
    const graph = await openInputLosses(await engine.sae(), settings, 0.7);
    const inputs = { x: batches({ ...settings, batch: 33 }, 5)() };
    const [found, wanted] = [await engine.losses!(inputs, 0.7), await graph.of(inputs)];
    for (const [i, loss] of wanted.entries())
      assert.ok(Math.abs(found[i]! / loss - 1) < 1e-5, `${found[i]}, not ${loss}`);
    await Promise.all([graph.close(), engine.close()]);
  }
});
