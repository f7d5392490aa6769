import assert from 'node:assert/strict';
import { test } from 'node:test';
import { extent, logDomain, logTicks, paddedDomain, wantsLog } from '../../src/report/numbers-and-axes.js';

test('extents and padding leave out what is not finite, and give one value a span', () => {
  assert.equal(extent([Number.NaN, Number.POSITIVE_INFINITY]), null);
  assert.deepEqual(extent([3, Number.NaN, -1]), [-1, 3]);
  assert.deepEqual(paddedDomain([0, 10], 0.1), [-1, 11]);
  assert.deepEqual(paddedDomain([10, 10], 0.1), [9, 11]);
  assert.deepEqual(paddedDomain([0, 0], 0.1), [-0.5, 0.5]);
});

test('a log domain is padded by factors, takes only what is above 0, and is never too short', () => {
  const [low, high] = logDomain([1, 100, 0, -5, Number.NaN], 0.5);
  assert.ok(Math.abs(low - 0.1) < 1e-12 && Math.abs(high - 1000) < 1e-9, `${low} ${high}`);
  const [least, most] = logDomain([7], 0.1, 4);
  assert.ok(Math.abs(most / least - 4) < 1e-9 && Math.abs(Math.sqrt(most * least) - 7) < 1e-9);
  assert.deepEqual(logDomain([0, -1], 0.1), [1, 10]);
});

test('ticks of a log axis are as many as have room', () => {
  assert.deepEqual(logTicks([4, 250], 8), [5, 10, 20, 50, 100, 200]);
  assert.deepEqual(logTicks([5, 200], 4), [10, 30, 100]);
  assert.deepEqual(logTicks([1, 1e4], 5), [1, 10, 100, 1000, 10000]);
  assert.deepEqual(logTicks([1, 1e9], 4), [1, 1e3, 1e6, 1e9]);
  assert.deepEqual(logTicks([31, 38], 6), [32, 34, 36, 38]);
  // One point in a panel: its axis still has numbers on both sides.
  assert.deepEqual(logTicks([21, 84], 7), [30, 40, 60, 80]);
  assert.deepEqual(logTicks([0.0004, 0.006], 5), [0.0005, 0.001, 0.002, 0.005]);
});

test('an axis is logarithmic from a factor of 8 on, and never with values that are not above 0', () => {
  assert.equal(wantsLog([10, 79]), false);
  assert.equal(wantsLog([10, 81]), true);
  assert.equal(wantsLog([0, 81]), false);
  assert.equal(wantsLog([]), false);
});
