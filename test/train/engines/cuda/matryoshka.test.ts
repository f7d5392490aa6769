import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { MatryoshkaOptions } from '../../../../src/sae/architectures/matryoshka.js';
import { PARAMETERS, trainingOf } from '../../../../src/sae/registry.js';
import { square } from '../../../../src/sae/sae.js';
import { lacking, planCuda } from '../../../../src/train/engines/cuda/plan.js';
import type { EngineSettings, StepMetrics, TrainerState } from '../../../../src/train/engines/engine.js';
import { chooseEngine } from '../../../../src/train/engines/open.js';
import { openReferenceEngine } from '../../../../src/train/engines/reference/engine.js';
import { openGolden, relativeDifference } from '../../../golden.js';
import { batches, randomStart, smallSettings, stateDifference, stepBoth } from '../problem.js';
import { withoutCompiler } from './compiler.js';
import type { CpuDeviceOptions } from './cpu-device.js';
import { openOnCpu } from './open-on-cpu.js';

const skip = withoutCompiler;
/** `SAE_PIPE_LONG=1` runs what compiles kernels of other sizes, or takes many steps. */
const onDemand = skip || (process.env.SAE_PIPE_LONG !== '1' && 'takes other kernels: SAE_PIPE_LONG=1');

/** Prefixes that end within slices, of 64 features, and within words of the mask; one has a single feature more. */
const PREFIXES = { prefixes: [3, 70, 71, 150, 210], prefixWeights: [1, 2, 0.5, 1, 0.7] };

function settings(options: Partial<MatryoshkaOptions> = {}, more: Partial<EngineSettings> = {}): EngineSettings {
  const chosen = { k: 6, kAux: 1, auxCoefficient: 0, ...PREFIXES, ...options };
  return smallSettings('matryoshka', { options: chosen, batch: 26, deadWindow: 104, ...more });
}
const USUAL = settings();

async function agree(chosen: EngineSettings, steps: number): Promise<void> {
  const start = randomStart(chosen, -0.3);
  const [reference, cuda] = [await openReferenceEngine(chosen, start), await openOnCpu(chosen, start)];
  const [x, y] = [batches(chosen), batches({ ...chosen, dIn: chosen.dOut ?? 1 }, 5)];
  await stepBoth(reference, cuda, steps, () => ({ x: x(), ...(chosen.dOut && { y: y() }) }));
  const { name, difference } = await stateDifference(cuda, reference);
  assert.ok(difference < 1e-4, `${name}: ${difference}`);
  await Promise.all([reference.close(), cuda.close()]);
}

test('ten matryoshka steps agree with the reference engine', { skip }, () => agree(USUAL, 10));

async function ran(
  chosen: EngineSettings,
  [from, to]: readonly [number, number],
  start: TrainerState,
  options: CpuDeviceOptions = {},
) {
  const engine = await openOnCpu(chosen, start, from, options);
  const next = batches(chosen);
  const metrics: StepMetrics[] = [];
  for (let t = 0; t < to; t++) {
    const x = next();
    if (t >= from) metrics.push(await engine.step({ x }, { lr: 1e-3, l1: 0 }));
  }
  const state = await engine.state();
  await engine.close();
  return { metrics, state };
}

test('a matryoshka run gives the same bits in every order, and continued from a checkpoint', { skip }, async () => {
  const start = randomStart(USUAL, -0.3);
  const whole = await ran(USUAL, [0, 4], start);
  assert.deepEqual(await ran(USUAL, [0, 4], start, { order: 'backwards', uploads: 'late' }), whole);
  assert.deepEqual(await ran(USUAL, [0, 4], start, { order: 'shuffled' }), whole);
  const half = await ran(USUAL, [0, 2], start);
  const rest = await ran(USUAL, [2, 4], half.state);
  assert.deepEqual([...half.metrics, ...rest.metrics], whole.metrics);
  assert.deepEqual(rest.state, whole.state);
});

test('the plan has a residual per prefix, and no second reconstruction next to them', () => {
  const { arrays, dOutRow, levels } = planCuda(USUAL);
  assert.equal(levels, 5);
  assert.equal(arrays.get('r'), 5 * 4 * USUAL.batch * dOutRow);
  const cuda = { engine: 'cuda', device: 'cuda', experimental: true } as const;
  assert.equal(chooseEngine(cuda, USUAL), 'cuda');
  const gated = trainingOf('gated').cuda(trainingOf('gated').options({}, square(8, 16)));
  assert.match(
    lacking({ ...gated, prefixes: [{ width: 16, weight: 1 }] } as Parameters<typeof lacking>[0])!,
    /prefixes/,
  );
});

/** Runs whose kernels differ. */
const RUNS: Readonly<Record<string, EngineSettings>> = {
  momentum: settings({}, { beta1: 0.9 }),
  'one prefix of another weight': settings({ prefixes: [210], prefixWeights: [3] }),
  'a prefix without entries': settings({ k: 1, prefixes: [1, 2, 210], prefixWeights: [1, 1, 1] }),
  'all that is above 0': settings({ k: 190 }),
  'another target': settings({}, { dOut: 290, scaleOut: 1.2 }),
  'without b_dec': settings({}, { trained: ['W_enc', 'W_dec', 'b_enc'] }),
};

for (const [name, chosen] of Object.entries(RUNS)) {
  test(`matryoshka steps agree with the reference engine: ${name}`, { skip: onDemand }, () => agree(chosen, 6));
}

test('300 matryoshka steps agree with the reference engine', { skip: onDemand }, () => agree(USUAL, 300));

test('with one prefix of weight 1, a matryoshka SAE is a batchtopk SAE', { skip: onDemand }, async () => {
  const chosen = settings({ prefixes: [210], prefixWeights: [1] });
  const { k, kAux, auxCoefficient } = chosen.options as MatryoshkaOptions;
  const plain: EngineSettings = { ...chosen, architecture: 'batchtopk', options: { k, kAux, auxCoefficient } };
  const start = randomStart(chosen, -0.3);
  assert.deepEqual(await ran(chosen, [0, 5], start), await ran(plain, [0, 5], start));
});

test('ten matryoshka steps by the CUDA engine equal PyTorch autograd in float64', { skip: onDemand }, async () => {
  const golden = await openGolden('matryoshka');
  const options = { k: 3, kAux: 4, auxCoefficient: 0, prefixes: [5, 6, 14, 24], prefixWeights: [1, 1, 1, 1] };
  const small = smallSettings('matryoshka', { options, dIn: 8, dSae: 24, batch: 16, scale: 1, deadWindow: 24 });
  const start = new Map<string, Float32Array>();
  for (const parameter of ['W_enc', 'W_dec', 'b_dec', 'b_enc']) start.set(parameter, await golden.floats(parameter));
  const engine = await openOnCpu(small, start);
  const [all, lr] = [await golden.floats('batches'), await golden.doubles('lr')];
  for (let t = 0; t < 10; t++) await engine.step({ x: all.slice(t * 128, (t + 1) * 128) }, { lr: lr[t]!, l1: 0 });
  const { parameters } = await engine.sae();
  for (const parameter of PARAMETERS.matryoshka) {
    const difference = relativeDifference(parameters[parameter]!, await golden.doubles(`plain/${parameter}`));
    assert.ok(difference < 2e-5, `${parameter}: ${difference}`);
  }
  await engine.close();
});
