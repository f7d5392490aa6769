import assert from 'node:assert/strict';
import { test } from 'node:test';
import { layerNormed } from '../../src/activations/layer-norm.js';
import { RowSums } from '../../src/inspect/row-sums.js';

test('train and inspect agree on LayerNorm, also of rows that are alike but for rounding', () => {
  const d = 192;
  const plain = Float32Array.from({ length: d }, (_, i) => 100 + Math.sin(i));
  const alike = new Float32Array(d).fill(1000.1);
  alike[7] = Math.fround(1000.1 * (1 + 2 ** -23));
  const byOne = (row: Float32Array) => {
    const sums = new RowSums(new Float64Array(d));
    sums.add(row);
    return sums.normalised.sum;
  };
  assert.notEqual(alike[7], alike[0]);
  assert.ok(layerNormed(alike, d).every((value) => value === 0));
  assert.ok(byOne(alike).every((value) => value === 0));
  const [normed, summed] = [layerNormed(plain, d), byOne(plain)];
  for (const [i, value] of normed.entries()) assert.ok(Math.abs(value - summed[i]!) < 1e-6, `${value}, ${summed[i]}`);
  assert.ok(Math.abs(Math.hypot(...normed) - Math.sqrt(d)) < 1e-4);
});
