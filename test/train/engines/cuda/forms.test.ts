import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { SparseForm } from '../../../../src/sae/architecture.js';
import { trainingOf } from '../../../../src/sae/registry.js';
import { square } from '../../../../src/sae/sae.js';
import { lacking } from '../../../../src/train/engines/cuda/plan.js';
import type { Engine, EngineSettings } from '../../../../src/train/engines/engine.js';
import { relativeDifference } from '../../../golden.js';
import { batches, randomStart, smallSettings } from '../problem.js';
import { withoutCompiler } from './compiler.js';
import { openOnCpu } from './open-on-cpu.js';

const skip = withoutCompiler;
const largest = (k: number): SparseForm => ({
  select: { kind: 'k-per-token', bias: 'b_enc', k },
  rule: 'relu',
  penalty: 'none',
});

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
  for (const k of [1, 9]) {
    const { metrics } = await of(largest(k));
    assert.deepEqual(
      metrics.map(({ l0 }) => l0),
      [k, k, k],
    );
    assert.ok(metrics[0]!.mse !== all.metrics[0]!.mse);
  }
});

/** |gradient| of a standard SAE's parameters on a batch with a target, by plain loops in double. */
function plainGradients(
  { dIn, dOut, dSae, batch, scale, scaleOut }: EngineSettings,
  w: ReadonlyMap<string, Float32Array>,
  x: Float32Array,
  y: Float32Array,
) {
  const [W_enc, W_dec, b_dec, b_enc] = ['W_enc', 'W_dec', 'b_dec', 'b_enc'].map((name) => w.get(name)!);
  const sizes = { W_enc: dIn * dSae, W_dec: dSae * dOut!, b_dec: dOut!, b_enc: dSae };
  const gradients = new Map(Object.entries(sizes).map(([name, size]) => [name, new Float64Array(size)]));
  let mse = 0;
  for (let b = 0; b < batch; b++) {
    const input = Array.from({ length: dIn }, (_, i) => scale * x[b * dIn + i]!);
    const f = Array.from({ length: dSae }, (_, j) => {
      return Math.max(
        0,
        input.reduce((sum, value, i) => sum + value * W_enc![i * dSae + j]!, b_enc![j]!),
      );
    });
    const r = Array.from({ length: dOut! }, (_, i) => {
      const reconstructed = f.reduce((sum, value, j) => sum + value * W_dec![j * dOut! + i]!, b_dec![i]!);
      return (2 / batch) * (reconstructed - scaleOut! * y[b * dOut! + i]!);
    });
    mse += r.reduce((sum, value) => sum + (value * batch) ** 2 / 4, 0) / batch;
    for (const [i, value] of r.entries()) gradients.get('b_dec')![i]! += value;
    for (const [j, value] of f.entries()) {
      if (value === 0) continue;
      const change = r.reduce((sum, error, i) => sum + error * W_dec![j * dOut! + i]!, 0);
      gradients.get('b_enc')![j]! += change;
      for (const [i, error] of r.entries()) gradients.get('W_dec')![j * dOut! + i]! += value * error;
      for (const [i, xi] of input.entries()) gradients.get('W_enc')![i * dSae + j]! += xi * change;
    }
  }
  return { mse, gradients };
}

test('a target of another width: loss and gradients of plain loops', { skip }, async () => {
  for (const [dIn, dOut] of [
    [13, 290],
    [270, 9],
  ] as const) {
    const settings = smallSettings('standard', { dIn, dOut, dSae: 70, batch: 11, scaleOut: 1.3, beta2: 0 });
    const start = randomStart({ ...settings, dOut: undefined }, -0.5);
    const other = randomStart({ ...settings, dIn: dOut, dOut: undefined }, -0.5, 9);
    for (const name of ['W_dec', 'b_dec']) start.set(name, other.get(name)!);
    const [x, y] = [batches(settings)(), batches({ ...settings, dIn: dOut }, 4)()];
    const engine = await openOnCpu(settings, start);
    const { mse } = await engine.step({ x, y }, { lr: 1e-3, l1: 0 });
    const state = await engine.state();
    const wanted = plainGradients(settings, start, x, y);
    assert.ok(Math.abs(mse - wanted.mse) < 1e-5 * wanted.mse, `${mse}, not ${wanted.mse}`);
    for (const [name, gradient] of wanted.gradients) {
      // With β2 = 0 the second moment is the gradient squared; that of W_dec is of its part along the sphere.
      if (name === 'W_dec') {
        for (let j = 0; j < settings.dSae; j++) {
          const [row, w] = [gradient.subarray(j * dOut, (j + 1) * dOut), start.get(name)!.subarray(j * dOut)];
          const along = row.reduce((sum, value, i) => sum + value * w[i]!, 0);
          for (let i = 0; i < dOut; i++) row[i]! -= along * w[i]!;
        }
      }
      const found = state.get(`v/${name}`)!.map(Math.sqrt);
      assert.ok(relativeDifference(found, gradient.map(Math.abs)) < 1e-4, `${dIn} to ${dOut}: ${name}`);
    }
    await assert.rejects(engine.step({ x }, { lr: 0, l1: 0 }), /a batch's y has no bytes/);
    await engine.close();
  }
});

test('a target that is the input again gives the bits of none, where b_dec is 0 and stays so', { skip }, async () => {
  const trained = ['W_enc', 'W_dec', 'b_gate', 'b_mag', 'r_mag'] as const;
  for (const precision of ['float32', 'bfloat16'] as const) {
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
  }
});

test('what the engine does not compute of a form is said by name', () => {
  const options = trainingOf('gated').options({}, square(8, 16));
  const gated = trainingOf('gated').cuda(options) as SparseForm;
  assert.equal(lacking(gated), undefined);
  assert.equal(lacking(largest(3)), undefined);
  assert.match(lacking({ ...largest(3), auxK: { k: 4, coefficient: 1 / 32 } })!, /dead features/);
  assert.match(lacking({ ...gated, rule: 'relu' })!, /second reconstruction/);
});
