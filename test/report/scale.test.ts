import assert from 'node:assert/strict';
import { test } from 'node:test';
import { compact, fixed, integer, listed, percent } from '../../src/report/format.js';
import { extent, linearScale, linearTicks, logScale, logTicks, padded, wantsLog } from '../../src/report/scale.js';

const near = (actual: number, expected: number) =>
  assert.ok(Math.abs(actual - expected) < 1e-9, `${actual} ≠ ${expected}`);

test('a linear scale maps its domain to its range', () => {
  const y = linearScale([0, 50], [300, 100]);
  near(y(0), 300);
  near(y(50), 100);
  near(y(12.5), 250);
});

test('a log scale maps equal factors to equal lengths', () => {
  const x = logScale([1, 1000], [0, 300]);
  near(x(1), 0);
  near(x(10), 100);
  near(x(1000), 300);
  near(x(20) - x(2), x(500) - x(50));
  assert.throws(() => logScale([0, 10], [0, 1]), RangeError);
});

test('linear ticks are multiples of 1, 2 or 5 times a power of ten, inside the domain', () => {
  for (const [low, high, count] of [
    [0, 1, 5],
    [-0.3, 0.31, 4],
    [69.8, 100, 6],
    [0, 1e-3, 3],
    [123456, 9876543, 5],
    [0.9991, 0.9999, 5],
  ] as const) {
    const values = linearTicks(low, high, count).map(({ value }) => value);
    assert.ok(values.length >= 2 && values.length <= 2 * count, `${values}`);
    const step = values[1]! - values[0]!;
    const mantissa = Number((step / 10 ** Math.floor(Math.log10(step) + 1e-6)).toFixed(3));
    assert.ok([1, 2, 5].includes(mantissa), `step ${step}`);
    for (const value of values)
      assert.ok(value >= low - 1e-9 && value <= high + 1e-9, `${value} outside ${low}..${high}`);
  }
  assert.deepEqual(
    linearTicks(0, 1, 5).map(({ label }) => label),
    ['0.0', '0.2', '0.4', '0.6', '0.8', '1.0'],
  );
  assert.deepEqual(
    linearTicks(0, 1.06e-3, 3).map(({ label }) => label),
    ['0', '5e-4', '1e-3'],
  );
  assert.deepEqual(
    linearTicks(0, 2e8, 4).map(({ label }) => label),
    ['0', '50M', '100M', '150M', '200M'],
  );
});

test('log ticks are labelled at 1, 2, 5 where there is room, at powers of ten where not', () => {
  const labels = (low: number, high: number, count: number) =>
    logTicks(low, high, count)
      .map(({ label }) => label)
      .filter((label) => label !== '');
  assert.deepEqual(labels(4, 250, 8), ['5', '10', '20', '50', '100', '200']);
  assert.deepEqual(labels(1, 1e4, 6), ['1', '10', '100', '1,000', '10k']);
  assert.deepEqual(labels(31, 38, 6), ['32', '34', '36', '38']);
  for (const { value } of logTicks(4, 250, 8)) assert.ok(value >= 4 && value <= 250);
});

test('one value, or none that is finite, still makes a scale', () => {
  const y = linearScale([0.5, 0.5], [100, 0]);
  near(y(0.5), 50);
  near(logScale([7, 7], [0, 10])(7), 5);
  near(linearScale(padded([0, 0], 0.1), [0, 10])(0), 5);
  assert.equal(extent([Number.NaN, Number.POSITIVE_INFINITY]), null);
  assert.deepEqual(extent([3, Number.NaN, -1]), [-1, 3]);
});

test('an axis is logarithmic from a factor of 8 on, and never with values that are not above 0', () => {
  assert.equal(wantsLog([10, 79]), false);
  assert.equal(wantsLog([10, 81]), true);
  assert.equal(wantsLog([0, 81]), false);
  assert.equal(wantsLog([]), false);
});

test('numbers are written for readers', () => {
  assert.equal(fixed(-0.00001, 3), '0.000');
  assert.equal(fixed(-1234.56, 1), '\u22121,234.6');
  assert.equal(fixed(Number.NaN, 2), '–');
  assert.equal(integer(1048576), '1,048,576');
  assert.equal(percent(0.98765, 2), '98.77');
  assert.deepEqual([50, 0.25, 3e-4, 999, 1234, 20000, 1.5e6, 2e9, 0].map(compact), [
    '50',
    '0.25',
    '3e-4',
    '999',
    '1,230',
    '20k',
    '1.5M',
    '2B',
    '0',
  ]);
  assert.equal(listed(['a', 'b', 'c']), 'a, b and c');
});
