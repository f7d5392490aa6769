import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { CudaOverrides } from '../../../../src/train/engines/cuda/cuda-engine.js';
import { entryBytes, planCuda } from '../../../../src/train/engines/cuda/plan.js';
import type { EngineSettings, TrainerState } from '../../../../src/train/engines/engine.js';
import { randomStart, smallSettings } from '../problem.js';
import { agreesWithReference, cudaSteps } from './agreement.js';
import { withoutCompiler } from './compiler.js';
import { openOnCpu } from './open-on-cpu.js';

const skip = withoutCompiler;
/** Takes minutes, or compiles kernels that no other test does. */
const LONG = process.env.SAE_PIPE_LONG === '1';
const onDemand = skip || (!LONG && 'takes long: SAE_PIPE_LONG=1');
const ORDERS = LONG ? (['shuffled', 'backwards'] as const) : (['shuffled'] as const);
/** A feature is dead that did not fire during two steps; of most tokens, more than `kAux` are then above 0. */
const small = (more: Partial<EngineSettings> = {}) =>
  smallSettings('topk', {
    dSae: 130,
    batch: 13,
    deadWindow: 26,
    options: { k: 5, kAux: 7, auxCoefficient: 1 / 4 },
    ...more,
  });
const PREFIXES = { k: 5, kAux: 7, auxCoefficient: 1 / 4, prefixes: [40, 90, 130], prefixWeights: [1, 0.5, 2] };
const step = { lr: 1e-3, l1: 0 };

const start = (settings: EngineSettings) => randomStart(settings, -0.2);

/** @returns how many steps revived dead features */
async function agrees(settings: EngineSettings, steps: number, bound: number, options: CudaOverrides = {}) {
  const { launches } = await agreesWithReference(settings, start(settings), { steps, bound }, options);
  return launches.get('decodeDead') ?? 0;
}

test('ten steps in which dead features learn from the error agree with the reference engine', { skip }, async () => {
  // The first two steps have no dead feature yet.
  assert.equal(await agrees(small(), 10, 1e-4), 8);
});

test('dead features that learn give the same bits in every order, and continued from a checkpoint', {
  skip,
}, async () => {
  const settings = small();
  const run = (from: TrainerState, steps: readonly [number, number], options = {}) =>
    cudaSteps(settings, from, steps, step, options);
  const whole = await run(start(settings), [0, 4]);
  assert.ok(whole.metrics[1]!.aux === 0 && whole.metrics[2]!.aux > 0);
  for (const order of ORDERS) {
    const again = await run(start(settings), [0, 4], { order, uploads: 'late', settleEvery: 2 });
    assert.deepEqual([again.metrics, again.state], [whole.metrics, whole.state]);
  }
  const first = await run(start(settings), [0, 3]);
  const rest = await run(first.state, [3, 4]);
  // What is dead is known from the state.
  assert.equal(rest.launches.get('decodeDead'), 1);
  assert.deepEqual([...first.metrics, ...rest.metrics], whole.metrics);
  assert.deepEqual(rest.state, whole.state);
});

test('the plan counts what the entries of dead features take', { skip }, async () => {
  const settings = small();
  const engine = await openOnCpu(settings, randomStart(settings, -0.2), 0, { idle: true });
  const { arrays, entries, mostEntries } = planCuda(settings, { slice: 4 * settings.batch * 64 });
  assert.deepEqual([entries, mostEntries], [13 * 12, 13 * 12]);
  const fixed = [...arrays.values()].reduce((sum, bytes) => sum + bytes, 0);
  assert.equal(engine.device.used, fixed + entryBytes(entries));
  await engine.close();
});

/** Kernels that differ: another target, moments, frozen parameters, parts, sizes; and errors that are all alike. */
const RUNS: Readonly<Record<string, readonly [settings: EngineSettings, options: CudaOverrides]>> = {
  'another target': [small({ dOut: 35, scaleOut: 1.2, beta1: 0.9 }), { partEntries: 2 }],
  'W_dec and b_dec frozen': [small({ trained: ['W_enc', 'b_enc'] }), {}],
  'more than there are': [small({ options: { k: 3, kAux: 130, auxCoefficient: 2 }, beta1: 0.9 }), { partEntries: 3 }],
  'wide rows, many tokens': [small({ dIn: 290, batch: 261, deadWindow: 522, dSae: 300 }), {}],
  'one token': [small({ batch: 1, deadWindow: 2 }), {}],
  'largest of the batch': [small({ architecture: 'batchtopk' }), { partEntries: 3 }],
  prefixes: [small({ architecture: 'matryoshka', options: PREFIXES }), {}],
  'prefixes, another target': [small({ architecture: 'matryoshka', options: PREFIXES, dOut: 35, beta1: 0.9 }), {}],
};

for (const [name, [settings, options]] of Object.entries(RUNS)) {
  test(`steps in which dead features learn agree: ${name}`, { skip: onDemand }, async () => {
    assert.ok((await agrees(settings, 10, 1e-4, options)) > 0);
  });
}

test('hundreds of steps in which dead features learn agree', { skip: onDemand }, async () => {
  assert.ok((await agrees(small({ deadWindow: 130 }), 300, 1e-3)) > 100);
});
