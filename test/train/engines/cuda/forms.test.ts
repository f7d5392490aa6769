import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SparseForm } from '../../../../src/sae/architecture.js';
import { trainingOf } from '../../../../src/sae/registry.js';
import { square } from '../../../../src/sae/sae.js';
import { lacking, planCuda } from '../../../../src/train/engines/cuda/plan.js';
import type { Engine, EngineSettings } from '../../../../src/train/engines/engine.js';
import { batches, randomStart, smallSettings } from '../problem.js';
import { withoutCompiler } from './compiler.js';
import { openOnCpu } from './open-on-cpu.js';

const skip = withoutCompiler;
const largest = (k: number): SparseForm => ({
  select: { kind: 'k-per-token', bias: 'b_enc', k },
  rule: 'relu',
  penalty: 'none',
});

/** `SAE_PIPE_LONG=1` takes both. */
const PRECISIONS = process.env.SAE_PIPE_LONG === '1' ? (['bfloat16', 'float32'] as const) : (['bfloat16'] as const);

/** Metrics and state after a few steps without penalty. */
async function after(engine: Engine, next: () => Parameters<Engine['step']>[0], steps = 3) {
  const metrics = [];
  for (let t = 0; t < steps; t++) metrics.push(await engine.step(next(), { lr: 1e-3, l1: 0 }));
  const state = await engine.state();
  await engine.close();
  return { metrics, state };
}

test('the k largest of each token are the only entries; with k of all features, they are those above 0', {
  skip,
}, async () => {
  const settings = smallSettings('standard', { batch: 15 });
  const start = randomStart(settings, -0.5);
  const of = async (form?: SparseForm) => {
    const next = batches(settings);
    return after(await openOnCpu(settings, start, 0, { form, order: 'shuffled' }), () => ({ x: next() }));
  };
  const all = await of();
  assert.ok(all.metrics[0]!.l0 > 9);
  assert.deepEqual(await of(largest(settings.dSae)), all);
  // Kernels of the same text.
  for (const k of [1, 8]) {
    const { metrics } = await of(largest(k));
    assert.deepEqual(
      metrics.map(({ l0 }) => l0),
      [k, k, k],
    );
    assert.ok(metrics[0]!.mse !== all.metrics[0]!.mse);
  }
});

test('a target that is the input again gives the bits of none, where b_dec is 0 and stays so', { skip }, async () => {
  const trained = ['W_enc', 'W_dec', 'b_gate', 'b_mag', 'r_mag'] as const;
  for (const precision of PRECISIONS) {
    const settings = smallSettings('gated', { batch: 15, trained, precision });
    const start = randomStart(settings, -0.5);
    start.get('b_dec')!.fill(0);
    const run = async (more: Partial<EngineSettings>) => {
      const next = batches(settings);
      const engine = await openOnCpu({ ...settings, ...more }, start, 0, { uploads: 'late' });
      return after(engine, () => {
        const x = next();
        return more.dOut === undefined ? { x } : { x, y: x };
      });
    };
    assert.deepEqual(await run({ dOut: settings.dIn, scaleOut: settings.scale }), await run({}));
    await assert.rejects(run({ dOut: 9 }), /state W_dec: \d+ values where \d+ belong/);
  }
});

test('parts of a form that the engine does not compute are named', () => {
  const options = trainingOf('gated').options({}, square(8, 16));
  const gated = trainingOf('gated').cuda(options) as SparseForm;
  assert.equal(lacking(gated), undefined);
  assert.equal(lacking(largest(3)), undefined);
  const auxK = { k: 4, coefficient: 1 / 32 };
  assert.equal(lacking({ ...largest(3), auxK }), undefined);
  assert.match(lacking({ ...gated, rule: 'relu' })!, /second reconstruction/);
  // Each slice has a separate list.
  for (const part of [{ auxK }, { prefixes: [{ width: 16, weight: 1 }] }]) {
    const positive = { select: { kind: 'positive', bias: 'b_enc' }, rule: 'relu', penalty: 'f', ...part } as const;
    assert.match(lacking(positive)!, /largest/);
  }
  const both = { ...gated, auxK };
  assert.throws(() => planCuda(smallSettings('gated'), { form: both }), /cannot train gated: .* dead features/);
});
