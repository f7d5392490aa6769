import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generator } from '../../src/random/generator.js';
import { geometricMedian } from '../../src/train/geometric-median.js';

test('on a line it is the middle point, wherever the others lie', () => {
  const median = geometricMedian(Float32Array.of(0, 0, 1, 1, 2, 2, 50, 50, 1000, 1000), 2);
  for (const value of median) assert.ok(Math.abs(value - 2) < 1e-3, String(median));
});

test('of a triangle it is the point that sees every side under 120°', () => {
  const points = Float32Array.of(0, 0, 4, 0, 1, 3);
  const [x, y] = geometricMedian(points, 2) as unknown as [number, number];
  for (const [a, b] of [
    [0, 1],
    [1, 2],
    [2, 0],
  ] as const) {
    const angle = (k: number) => Math.atan2(points[2 * k + 1]! - y, points[2 * k]! - x);
    const between = Math.acos(Math.cos(angle(a) - angle(b)));
    assert.ok(Math.abs(between - (2 * Math.PI) / 3) < 1e-4, `${between}`);
  }
});

test('in many dimensions the unit vectors towards the points cancel, however long a few of them are', () => {
  const random = new Generator(3);
  const [rows, d] = [300, 20];
  const points = Float32Array.from({ length: rows * d }, (_, k) => (k < 5 * d ? 500 : 1) * random.normal() + 3);
  const median = geometricMedian(points, d);
  const pull = new Float64Array(d);
  for (let row = 0; row < rows; row++) {
    const towards = median.map((m, i) => points[row * d + i]! - m);
    const length = Math.hypot(...towards);
    for (let i = 0; i < d; i++) pull[i]! += towards[i]! / length;
  }
  assert.ok(Math.hypot(...pull) < 1e-3 * rows, `${Math.hypot(...pull)}`);
});

test('equal points are their own median', () => {
  assert.deepEqual([...geometricMedian(Float32Array.of(1, 2, 1, 2, 1, 2), 2)], [1, 2]);
});
