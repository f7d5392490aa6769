import assert from 'node:assert/strict';
import { test } from 'node:test';
import { symmetricEigensystem, symmetricEigenvalues } from '../../src/activations/eigenvalues.js';
import { SecondMoments } from '../../src/activations/second-moments.js';
import { randomInputs } from '../sae/random-sae.js';

/** Xᵀ X / n of random rows, the first `rank` of which alone are not zero. */
function gram(n: number, rank: number): Float64Array {
  const x = randomInputs(rank * n, n);
  return Float64Array.from({ length: n * n }, (_, at) => {
    let sum = 0;
    for (let row = 0; row < rank; row++) sum += x[row * n + Math.floor(at / n)]! * x[row * n + (at % n)]!;
    return sum / n;
  });
}

test('directions of a symmetric matrix are orthonormal, and it stretches each by its eigenvalue', () => {
  for (const [n, rank] of [
    [1, 1],
    [2, 2],
    [3, 1],
    [40, 40],
    [41, 9],
  ] as const) {
    const matrix = gram(n, rank);
    const { values, direction } = symmetricEigensystem(matrix.slice(), n);
    const ascending = symmetricEigenvalues(matrix.slice(), n);
    const directions = Array.from({ length: n }, (_, k) => direction(k));
    for (const [k, v] of directions.entries()) {
      assert.ok(Math.abs(values[k]! - ascending[n - 1 - k]!) < 1e-12 * values[0]!, `${n}: ${k}`);
      for (let i = 0; i < n; i++) {
        const stretched = v.reduce((sum, value, j) => sum + matrix[i * n + j]! * value, 0);
        assert.ok(Math.abs(stretched - values[k]! * v[i]!) < 1e-12 * n * values[0]!, `${n}: ${k}`);
      }
      for (const [other, w] of directions.entries()) {
        const dot = v.reduce((sum, value, i) => sum + value * w[i]!, 0);
        assert.ok(Math.abs(dot - Number(k === other)) < 1e-12 * n, `${n}: ${k}, ${other}`);
      }
    }
  }
});

test('second moments of wide rows, in strips, are those of narrow ones', async () => {
  const [rows, d] = [50, 300];
  const x = randomInputs(rows * d, 3);
  const open = await SecondMoments.open(new Float32Array(d).fill(0.5), 1);
  await open.add(x.subarray(0, 20 * d));
  await open.add(x.subarray(20 * d));
  const { matrix, rows: counted } = open.covariance()!;
  await open.release();
  assert.equal(counted, rows);
  const mean = Array.from({ length: d }, (_, i) => {
    let sum = 0;
    for (let row = 0; row < rows; row++) sum += x[row * d + i]!;
    return sum / rows;
  });
  for (const [i, j] of [
    [0, 0],
    [74, 10],
    [75, 74],
    [10, 290],
    [299, 299],
  ] as const) {
    let sum = 0;
    for (let row = 0; row < rows; row++) sum += (x[row * d + i]! - mean[i]!) * (x[row * d + j]! - mean[j]!);
    assert.ok(Math.abs(matrix[i * d + j]! - sum / rows) < 1e-5, `${i}, ${j}`);
  }
});
