import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { Batch } from '../../../../src/activations/activation-source.js';
import type { CudaOverrides } from '../../../../src/train/engines/cuda/cuda-engine.js';
import { checkCounts, planCuda } from '../../../../src/train/engines/cuda/plan.js';
import type { EngineSettings, StepMetrics, TrainerState } from '../../../../src/train/engines/engine.js';
import { openReferenceEngine } from '../../../../src/train/engines/reference/engine.js';
import { openInputLosses } from '../../../../src/train/input-losses.js';
import { refuses } from '../../../config/refuses.js';
import { batches, randomStart, smallSettings, stateDifference, stepBoth } from '../problem.js';
import { withoutCompiler } from './compiler.js';
import type { CpuDeviceOptions } from './cpu-device.js';
import { openOnCpu } from './open-on-cpu.js';

const skip = withoutCompiler;
/** `SAE_PIPE_LONG=1` takes all of them; those of other settings or PARTS compile other kernels. */
const LONG = process.env.SAE_PIPE_LONG === '1';
const some = <T>(all: readonly T[], count: number) => (LONG ? all : all.slice(0, count));
const small = (more: Partial<EngineSettings> = {}) => smallSettings('gated', { batch: 14, deadWindow: 28, ...more });
const PARTS = { partEntries: 3 } as const;

/** Features of which none is active: one amid others, and all of a slice. */
function silence(start: Map<string, Float32Array>, wholeSlice = true): Map<string, Float32Array> {
  for (const name of ['b_gate', 'b_enc']) {
    start.get(name)?.forEach((_, j, biases) => {
      if (j === 3 || (wholeSlice && j >= 64 && j < 128)) biases[j] = -1e4;
    });
  }
  return start;
}

/** What is dense: all slices, or those with a feature that is not silent, or none; entries in parts next to them. */
const RUNS: Readonly<Record<string, readonly [EngineSettings, CudaOverrides]>> = {
  'all slices': [small(), { denseShare: 0, ...PARTS }],
  'those above a share, features in parts': [small(), { denseShare: 0.5, ...PARTS }],
  'all but one, unfrozen decoder': [
    small({ beta1: 0.9, options: { ablate: ['unfrozen-decoder'] } }),
    { denseShare: 0, ...PARTS },
  ],
  'none, features in parts': [
    smallSettings('standard', { batch: 26, trained: ['W_enc', 'b_enc'] }),
    { partEntries: 2 },
  ],
  'no auxiliary loss, another target': [
    small({ dOut: 35, scaleOut: 1.2, options: { ablate: ['no-auxiliary', 'l1-on-f'] } }),
    { denseShare: 0 },
  ],
  'standard, W_enc and b_dec frozen': [
    smallSettings('standard', { batch: 26, trained: ['W_dec', 'b_enc'] }),
    { denseShare: 0, ...PARTS },
  ],
};

for (const [name, [settings, overrides]] of some(Object.entries(RUNS), 3)) {
  test(`dense steps agree with the reference engine: ${name}`, { skip }, async () => {
    const start = silence(randomStart(settings, 0), name !== 'all slices');
    const reference = await openReferenceEngine(settings, start);
    const cuda = await openOnCpu(settings, start, 0, overrides);
    const [x, y] = [batches(settings), batches({ ...settings, dIn: settings.dOut ?? 1 }, 4)];
    await stepBoth(reference, cuda, 5, (): Batch => ({ x: x(), ...(settings.dOut && { y: y() }) }));
    const { name: worst, difference } = await stateDifference(cuda, reference);
    assert.ok(difference < 1e-4, `${worst}: ${difference}`);
    const ran = (kernel: string) => (cuda.device.launches.get(kernel) ?? 0) > 0;
    assert.equal(ran('denseFeatures'), overrides.denseShare !== undefined);
    await Promise.all([reference.close(), cuda.close()]);
  });
}

/** Metrics and state of steps whose batches are now dense, now not. */
async function run(
  settings: EngineSettings,
  start: TrainerState,
  steps: readonly number[],
  options: CpuDeviceOptions & CudaOverrides,
) {
  const engine = await openOnCpu(settings, start, steps[0]! - 1, { denseShare: 0.3, ...PARTS, ...options });
  const next = batches(settings);
  const all = Array.from({ length: 8 }, () => next());
  const metrics: StepMetrics[] = [];
  for (const t of steps) {
    const x = all[t - 1]!.map((value) => value * (t % 3 === 0 ? 0.1 : 2));
    metrics.push(await engine.step({ x }, { lr: 1e-3, l1: 0.2 }));
  }
  const state = await engine.state();
  const launches = engine.device.launches;
  await engine.close();
  return { metrics, state, launches };
}

test('slices that come and go give the same bits in every order, and continued from a checkpoint', {
  skip,
}, async () => {
  const settings = small();
  const start = silence(randomStart(settings, -0.8));
  const whole = await run(settings, start, [1, 2, 3, 4, 5, 6, 7], {});
  // Some step had another guess than was right.
  assert.ok(whole.launches.get('decode')! > 8, `${whole.launches.get('decode')} decodes`);
  for (const order of ['backwards', 'shuffled'] as const) {
    const again = await run(settings, start, [1, 2, 3, 4, 5, 6, 7], { order, uploads: 'late' });
    assert.deepEqual([again.metrics, again.state], [whole.metrics, whole.state]);
  }
  for (const at of [2, 3]) {
    const first = await run(
      settings,
      start,
      Array.from({ length: at }, (_, t) => t + 1),
      {},
    );
    const rest = await run(
      settings,
      first.state,
      Array.from({ length: 7 - at }, (_, t) => at + t + 1),
      {},
    );
    assert.deepEqual([...first.metrics, ...rest.metrics], whole.metrics);
    assert.deepEqual(rest.state, whole.state);
  }
});

for (const more of some([{ dOut: 9, scaleOut: 2, precision: 'bfloat16' as const }, {}], 1)) {
  test(`losses of single inputs are those of a plain graph, and leave the steps alone: ${JSON.stringify(more)}`, {
    skip,
  }, async () => {
    const settings = small(more);
    const start = randomStart(settings, -0.8);
    const engine = await openOnCpu(settings, start, 0, { denseShare: 0.1 });
    const untouched = await openOnCpu(settings, start, 0, { denseShare: 0.1 });
    // Two batches and a rest.
    const rows = (dIn: number, seed: number) => batches({ ...settings, batch: 33, dIn }, seed)();
    const inputs = { x: rows(settings.dIn, 5), ...(settings.dOut && { y: rows(settings.dOut, 6) }) };
    const graph = await openInputLosses(await engine.sae(), settings, 0.7);
    const [found, wanted] = [await engine.losses!(inputs, 0.7), await graph.of(inputs)];
    const bound = settings.precision === 'bfloat16' ? 3e-2 : 1e-5;
    assert.equal(found.length, 33);
    for (const [i, loss] of wanted.entries())
      assert.ok(Math.abs(found[i]! / loss - 1) < bound, `${found[i]}, not ${loss}`);
    const batch = {
      x: batches(settings)(),
      ...(settings.dOut && { y: batches({ ...settings, dIn: settings.dOut })() }),
    };
    const step = { lr: 1e-3, l1: 0.2 };
    assert.deepEqual(await engine.step(batch, step), await untouched.step(batch, step));
    assert.deepEqual(await engine.state(), await untouched.state());
    await Promise.all([graph.close(), engine.close(), untouched.close()]);
    assert.equal(engine.device.buffers, 0);
  });
}

test('sizes beyond what the kernels count to are refused with the numbers', async () => {
  const of = (dSae: number, batch: number) => {
    const settings = smallSettings('gated', { dIn: 8, dSae, batch });
    return () => checkCounts(settings, planCuda(settings));
  };
  of(131_072, 4096)();
  // Half of all features of 2²⁰ and 4096 are 2³¹ entries; they are not listed, so that is not a limit.
  of(2 ** 20, 4096)();
  await refuses(of(2 ** 24, 2 ** 13), 'cuda/too-many-entries', '--batch 8192', '2147483647');
  await refuses(of(1024, 2 ** 18 + 1), 'cuda/too-many-entries', '--batch 262145', '262144');
});
