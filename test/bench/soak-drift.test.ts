import assert from 'node:assert/strict';
import { test } from 'node:test';
import { driftOf, drifts } from '../../bench/soak-drift.js';
import { Generator } from '../../src/random/generator.js';

/** A sawtooth of a collector, with noise, and growth over the second half. */
function series(growth: number, seconds = 400): number[] {
  const random = new Generator(5);
  return Array.from({ length: seconds }, (_, t) => 500 + 3 * (t % 17) + random.normal() + (growth * t) / (seconds / 2));
}

test('a flat sawtooth does not drift, and growth of a twentieth does', () => {
  const flat = driftOf(series(0));
  assert.ok(flat.low < 0 && flat.high > 0, JSON.stringify(flat));
  assert.equal(drifts(flat), false);
  const grown = driftOf(series(25));
  assert.ok(grown.low < 25 && grown.high > 25 && grown.low > 15, JSON.stringify(grown));
  assert.equal(drifts(grown), true);
});

test('growth in the first half alone is not drift, nor is a fall; too few samples give no answer', () => {
  const warm = Array.from({ length: 400 }, (_, t) => 300 + Math.min(t, 150));
  assert.equal(drifts(driftOf(warm)), false);
  assert.equal(drifts(driftOf(series(-50))), false);
  assert.throws(() => driftOf(series(0, 40)), /too few/);
});
