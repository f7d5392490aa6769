import assert from 'node:assert/strict';
import { test } from 'node:test';
import { trainable } from '../../src/sae/registry.js';
import { inRawCoordinates, perDimension } from '../../src/train/coordinates.js';
import { randomInputs, randomSae } from '../sae/random-sae.js';
import { runForward } from '../sae/run-forward.js';

const [rows, d] = [600, 6];

/** Standard deviations of the dimensions of `sample`, about means that differ. */
const SPREADS = [1, 1000, 0.01, 3, 0, 40];

function sample(): Float32Array {
  return randomInputs(rows * d, 5).map((value, k) => SPREADS[k % d]! * (value + (k % d)));
}

test('every dimension gets a standard deviation of 1, whatever its mean; one that does not vary stays finite', () => {
  const x = sample();
  const factors = perDimension(x, d)!;
  for (let i = 0; i < d; i++) {
    if (SPREADS[i] === 0) continue;
    const z = Array.from({ length: rows }, (_, row) => x[row * d + i]! * factors[i]!);
    const mean = z.reduce((sum, value) => sum + value, 0) / rows;
    const variance = z.reduce((sum, value) => sum + (value - mean) ** 2, 0) / rows;
    assert.ok(Math.abs(Math.sqrt(variance) - 1) < 0.1, `${i}: ${variance}`);
  }
  // Dimension 4 counts as a thousandth of the median one.
  assert.ok(factors[4]! > 100 && factors[4]! < 1e4, String(factors[4]));
  assert.equal(perDimension(new Float32Array(rows * d), d), undefined);
});

test('a few very long activations do not change the factors', () => {
  const x = sample();
  const before = perDimension(x, d)!;
  for (let i = 0; i < d; i++) x[17 * d + i]! *= 100;
  const after = perDimension(x, d)!;
  // One row of 600 is missing, no more.
  for (let i = 0; i < d; i++) assert.ok(Math.abs(after[i]! / before[i]! - 1) < 0.02, `${i}: ${before[i]} ${after[i]}`);
});

test('a constant vector does not hide an activation that is far from the others', () => {
  const x = sample();
  const before = perDimension(x, d)!;
  for (let i = 0; i < d; i++) x[17 * d + i]! *= 20;
  const shifted = x.map((value, k) => value + 100 * SPREADS[k % d]!);
  const after = perDimension(shifted, d)!;
  for (let i = 0; i < d; i++) {
    if (SPREADS[i] === 0) continue;
    assert.ok(Math.abs(after[i]! / before[i]! - 1) < 0.03, `${i}: ${before[i]} ${after[i]}`);
  }
});

test('activations that are all equal cannot be scaled, whatever they are', () => {
  const row = randomInputs(d, 4);
  assert.equal(
    perDimension(
      Float32Array.from({ length: 50 * d }, (_, k) => row[k % d]!),
      d,
    ),
    undefined,
  );
});

const factors = { input: [2, 0.25, 1, 8, 0.125, 3] };
const N = 20;

for (const architecture of trainable) {
  test(`${architecture}: in raw coordinates it computes what it computed in others`, async () => {
    const trained = randomSae(architecture, d, N, 3);
    const raw = inRawCoordinates(trained, factors);
    const x = randomInputs(50 * d, 8);
    const z = x.map((value, k) => value * factors.input[k % d]!);
    const [{ f, xHat }, before] = [await runForward(raw, x), await runForward(trained, z)];
    const largest = before.xHat.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    for (const [k, value] of xHat.entries()) {
      assert.ok(Math.abs(value * factors.input[k % d]! - before.xHat[k]!) < 2e-5 * largest, `${k}`);
    }
    // The same features are active.
    assert.deepEqual(
      f.map((value) => Number(value > 0)),
      before.f.map((value) => Number(value > 0)),
    );
    assert.ok(before.f.some((value) => value > 0));
  });
}

test('rows of W_dec have norm 1 again, unless features compete', () => {
  const norms = (architecture: 'gated' | 'topk') => {
    const { W_dec } = inRawCoordinates(randomSae(architecture, d, N, 3), factors).parameters;
    return Array.from({ length: N }, (_, j) => Math.hypot(...W_dec!.subarray(j * d, (j + 1) * d)));
  };
  assert.ok(norms('gated').every((norm) => Math.abs(norm - 1) < 1e-6));
  assert.ok(norms('topk').some((norm) => Math.abs(norm - 1) > 0.1));
});

test('a skip connection and a target with separate factors are folded, too', () => {
  const sae = randomSae('standard', 2, 3, 1);
  const W_skip = Float32Array.of(1, 2, 3, 4);
  const both = { input: [2, 4], target: [8, 16] };
  const { parameters } = inRawCoordinates(
    { ...sae, transcoder: true, parameters: { ...sae.parameters, W_skip } },
    both,
  );
  // [d_out, d_in]: y_o = Σ W_skip[o, i] m_i x_i / t_o
  assert.deepEqual([...parameters.W_skip!], [(1 * 2) / 8, (2 * 4) / 8, (3 * 2) / 16, (4 * 4) / 16]);
  assert.deepEqual(
    [...parameters.b_dec!],
    [sae.parameters.b_dec![0]! / 8, sae.parameters.b_dec![1]! / 16].map(Math.fround),
  );
});
