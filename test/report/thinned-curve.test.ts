import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bucketMeans, ThinnedCurve, thinned } from '../../src/report/thinned-curve.js';
import type { MetricsRecord } from '../../src/sae/training-curve.js';
import { curve } from './sample.js';

const grown = (lines: readonly MetricsRecord[], limit: number) => {
  const thin = new ThinnedCurve(limit);
  for (const line of lines) thin.add(line);
  return thin;
};

test('a short curve is kept as it is', () => {
  const lines = curve(9);
  assert.deepEqual(grown(lines, 5).records(), lines);
});

test('a curve grown line by line has the means over buckets of the curve that is known whole', () => {
  const lines = curve(512).map((line, i) => ({ ...line, loss: Math.sin(i) + 2 }));
  const records = grown(lines, 8).records();
  assert.equal(records.length, 8);
  for (const key of ['loss', 'l0', 'lr'] as const) {
    const means = bucketMeans(
      lines.map((line) => ({ tokens: line.tokens, value: line[key] })),
      8,
    );
    for (const [i, { tokens, value }] of means.entries()) {
      assert.ok(Math.abs(records[i]![key] - value) < 1e-12 * Math.abs(value), `${key} of bucket ${i}`);
      assert.equal(records[i]!.tokens, tokens);
    }
  }
});

test('at any length there are fewer records than twice the limit, and every line counts once', () => {
  const thin = new ThinnedCurve(8);
  for (const [i, line] of curve(1000, { loss: 1 }).entries()) {
    thin.add({ ...line, loss: i + 1 });
    const records = thin.records();
    assert.ok(records.length <= 16);
    const stride = 2 ** Math.max(0, Math.floor(Math.log2((i + 1) / 8)));
    const weights = records.map((_, k) => Math.min(stride, i + 1 - k * stride));
    const sum = records.reduce((total, { loss }, k) => total + loss * weights[k]!, 0);
    assert.ok(Math.abs(sum - ((i + 1) * (i + 2)) / 2) < 1e-6, `${i + 1} lines`);
    assert.equal(thin.last!.step, i + 1);
  }
});

test('lines that a resumed run repeats replace those it had written', () => {
  const thin = grown(curve(10), 20);
  const again = curve(12, { loss: 7 }).slice(5);
  for (const line of again) thin.add(line);
  assert.deepEqual(thin.records(), [...curve(10).slice(0, 5), ...again]);
});

test('what is not a number is left out of a mean, and is a gap where there is nothing else', () => {
  const variances = [null, 0.4, Number.NaN, 0.6, null, null, null, null];
  const lines = curve(8).map((line, i) => ({ ...line, explained_variance: variances[i]! }));
  assert.deepEqual(
    grown(lines, 2)
      .records()
      .map(({ explained_variance }) => explained_variance),
    [0.5, Number.NaN],
  );
});

test('a curve is thinned to a limit', () => {
  const records = thinned(curve(700), 50);
  assert.ok(records.length > 25 && records.length <= 50, `${records.length}`);
  assert.ok(records.at(-1)!.tokens > 690_000);
});
