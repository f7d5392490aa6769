import assert from 'node:assert/strict';
import { test } from 'node:test';
import { denseFraction, densityHistogram, l0Histogram } from '../../src/eval/metrics.js';

test('a feature is in the bin of its density, on an edge in the one above it', () => {
  const { log10_edges: edges, counts, dead } = densityHistogram(Float64Array.of(0, 1, 10, 99, 100, 1000), 1000);
  assert.equal(dead, 1);
  assert.deepEqual(edges, [-3, -2.75, -2.5, -2.25, -2, -1.75, -1.5, -1.25, -1, -0.75, -0.5, -0.25, 0]);
  assert.deepEqual(counts, [1, 0, 0, 0, 1, 0, 0, 1, 1, 0, 0, 1]);
});

test('a feature is dense above a tenth of the positions, not on it', () => {
  assert.equal(denseFraction(Float64Array.of(0, 9, 10, 11, 100), 100), 2 / 5);
});

test('L0 is counted exactly while it is small, then in bins of one integer width', () => {
  assert.deepEqual(l0Histogram(Float64Array.of(5, 0, 2, 0, 0)), { edges: [0, 1, 2, 3], counts: [5, 0, 2] });
  assert.deepEqual(l0Histogram(Float64Array.of(7, 0)), { edges: [0, 1], counts: [7] });
  assert.deepEqual(l0Histogram(Float64Array.of(0, 0, 3, 0, 4)), { edges: [2, 3, 4, 5], counts: [3, 0, 4] });
  const positions = new Float64Array(1001);
  for (const [l0, n] of [
    [0, 1],
    [3, 2],
    [4, 3],
    [199, 5],
    [255, 7],
  ] as const) {
    positions[l0] = n;
  }
  const { edges, counts } = l0Histogram(positions);
  assert.equal(counts.length, 64);
  assert.deepEqual([edges[0], edges[1], edges[64]], [0, 4, 256]);
  assert.deepEqual([counts[0], counts[1], counts[49], counts[63]], [3, 3, 5, 7]);
  assert.equal(
    counts.reduce((sum, n) => sum + n, 0),
    18,
  );
  // The first number that needs another width.
  positions[256] = 1;
  assert.deepEqual(l0Histogram(positions).edges.slice(0, 2), [0, 5]);
  positions[0] = 0;
  assert.deepEqual(l0Histogram(positions).edges.slice(0, 2), [3, 7]);
});
