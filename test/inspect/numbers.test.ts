import assert from 'node:assert/strict';
import { test } from 'node:test';
import { effectiveRank, symmetricEigenvalues } from '../../src/activations/eigenvalues.js';
import { FineHistogram } from '../../src/eval/fine-histogram.js';
import { expectedDead, quantileAbove, upperTail } from '../../src/inspect/normal.js';
import { Generator } from '../../src/random/generator.js';
import { randomInputs } from '../sae/random-sae.js';

const near = (a: number, b: number, tolerance: number) =>
  assert.ok(Math.abs(a - b) <= tolerance * Math.max(1e-12, Math.abs(b)), `${a}, not ${b}`);

/** V diag(values) Vᵀ with V a product of random reflections. */
function withEigenvalues(values: Float64Array): Float64Array {
  const n = values.length;
  const a = new Float64Array(n * n);
  for (let i = 0; i < n; i++) a[i * n + i] = values[i]!;
  for (let seed = 0; seed < 3; seed++) {
    const v = randomInputs(n, seed);
    const squares = v.reduce((sum, x) => sum + x * x, 0);
    for (const transposed of [false, true]) {
      for (let i = 0; i < n; i++) {
        const at = (k: number) => (transposed ? k * n + i : i * n + k);
        let dot = 0;
        for (let k = 0; k < n; k++) dot += a[at(k)]! * v[k]!;
        for (let k = 0; k < n; k++) a[at(k)]! -= (2 * dot * v[k]!) / squares;
      }
    }
  }
  return a;
}

test('eigenvalues of a symmetric matrix are found, over eight decades and with multiples', () => {
  for (const n of [1, 2, 3, 17, 60]) {
    const values = Float64Array.from({ length: n }, (_, i) => (i % 5 === 4 ? 2 : 10 ** (-4 + (8 * i) / n)));
    const found = symmetricEigenvalues(withEigenvalues(values), n);
    const [sorted, largest] = [values.slice().sort(), Math.max(...values)];
    for (const [i, value] of found.entries())
      assert.ok(Math.abs(value - sorted[i]!) < 1e-12 * largest * n, `${n}: ${i}`);
  }
  assert.deepEqual([...symmetricEigenvalues(new Float64Array(9), 3)], [0, 0, 0]);
});

test('the effective rank counts equal eigenvalues, and weighs others by their entropy', () => {
  near(effectiveRank(Float64Array.of(3, 3, 3, 0, -1e-18)), 3, 1e-12);
  near(effectiveRank(Float64Array.of(0.5, 0.25, 0.25)), 2 ** 1.5, 1e-12);
  assert.equal(effectiveRank(new Float64Array(4)), 0);
});

test('quantiles and sums of the largest are those of the sorted values', () => {
  const random = new Generator(3);
  const values = Array.from({ length: 5000 }, () => Math.exp(3 * random.normal()));
  values.push(0, 0);
  const histogram = new FineHistogram();
  for (const value of values) histogram.add(value);
  values.sort((a, b) => a - b);
  for (const q of [0, 0.001, 0.3, 0.5, 0.99, 1]) {
    const at = q * (values.length - 1);
    const [low, high] = [values[Math.floor(at)]!, values[Math.ceil(at)]!];
    near(histogram.quantiles([q])[0]!, low + (at % 1) * (high - low), 3e-5);
  }
  for (const count of [1, 7, 5002]) {
    near(
      histogram.sumOfLargest(count),
      values.slice(-count).reduce((sum, value) => sum + value, 0),
      3e-5,
    );
  }
});

test('the normal distribution, and the dead features that γ leads to', () => {
  near(upperTail(0), 0.5, 1e-6);
  near(upperTail(1.959964), 0.025, 1e-5);
  near(upperTail(-3), 1 - 1.349898e-3, 1e-6);
  near(upperTail(6), 9.865876e-10, 1e-5);
  near(quantileAbove(1e-5), 4.264891, 1e-5);
  const dictionary = { k: 32, dSae: 4096 };
  const at = (gamma: number) => expectedDead(gamma, 1e5, dictionary);
  assert.deepEqual(at(0), { relu: 0, topk: 0 });
  // Φ(−4.2649 / 5.5), and Φ(2.4176 − 0.7754).
  near(at(5.5).relu, 0.219, 1e-3);
  near(at(5.5).topk, 0.9497, 1e-3);
});
