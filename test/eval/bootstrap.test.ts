import assert from 'node:assert/strict';
import { test } from 'node:test';
import { bootstrapIntervals } from '../../src/eval/metrics.js';
import { Generator } from '../../src/random/generator.js';
import { intervalsByHand } from './intervals-by-hand.js';

/** Contexts of 1 to 9 positions: losses about 3 nats a position, with a part that a whole context shares. */
function synthetic(contexts: number, seed: number) {
  const random = new Generator(seed);
  const tokens = Array.from({ length: contexts }, () => 1 + random.below(9));
  const nll = tokens.map((n) => n * (3 + random.normal()) + Math.sqrt(n) * random.normal());
  return { tokens, nll };
}

const mean = ({ nll, tokens }: { nll: number; tokens: number }) => ({ ce: nll / tokens });
const estimate = ({ nll, tokens }: { nll: number[]; tokens: number[] }) =>
  nll.reduce((a, b) => a + b, 0) / tokens.reduce((a, b) => a + b, 0);
const width = ([low, high]: [number, number]) => high - low;

test('intervals are a function of sums and seed, and equal the slow twin', () => {
  const sums = synthetic(7, 1);
  for (const seed of [0, 5]) {
    const { ce } = bootstrapIntervals(sums, mean, { resamples: 300, seed });
    const twin = intervalsByHand(7, (sum) => ({ ce: sum(sums.nll) / sum(sums.tokens) }), { resamples: 300, seed });
    assert.ok(Math.abs(ce[0] - twin.ce[0]) < 1e-12 && Math.abs(ce[1] - twin.ce[1]) < 1e-12, `${ce}, not ${twin.ce}`);
    assert.deepEqual(bootstrapIntervals(sums, mean, { resamples: 300, seed }), { ce });
  }
  const [a, b] = [0, 5].map((seed) => bootstrapIntervals(sums, mean, { seed }).ce);
  assert.notDeepEqual(a, b);
});

test('an interval contains the estimate, and a context weighs what it has positions', () => {
  for (let seed = 0; seed < 20; seed++) {
    const sums = synthetic(40, seed);
    const [low, high] = bootstrapIntervals(sums, mean, { resamples: 500 }).ce;
    assert.ok(low < estimate(sums) && estimate(sums) < high, `seed ${seed}`);
  }
  // One position of 1000 nats next to 99 × 1000 positions of 1: the mean is 1.01, the mean of the contexts' 10.99.
  const tokens = [1, ...Array(99).fill(1000)];
  const nll = [1000, ...Array(99).fill(1000)];
  const [low, high] = bootstrapIntervals({ tokens, nll }, mean).ce;
  assert.ok(low >= 1 && high < 1.05, `[${low}, ${high}]`);
});

test('95 of 100 intervals contain the truth', () => {
  let covered = 0;
  const trials = 400;
  for (let seed = 0; seed < trials; seed++) {
    const [low, high] = bootstrapIntervals(synthetic(60, 1000 + seed), mean, { resamples: 400 }).ce;
    if (low < 3 && 3 < high) covered++;
  }
  // Binomial: 380 ± 4.4; the percentile bootstrap is a little narrow with 60 contexts.
  assert.ok(covered > 360 && covered < 394, `${covered} of ${trials}`);
});

test('the standard error falls as one over the root of the number of contexts', () => {
  const trials = 40;
  const widths = (contexts: number) =>
    Array.from({ length: trials }, (_, seed) => width(bootstrapIntervals(synthetic(contexts, seed), mean).ce));
  const average = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const [few, many] = [average(widths(100)), average(widths(400))];
  // A width is within about 1/√(2 · 100) = 7 % of its expectation, the average of 40 within 1.1 %.
  assert.ok(few / many > 1.92 && few / many < 2.08, `${few / many}`);
  // Deviation of an estimate from context to context over the mean number of positions, to the normal quantiles.
  const n = synthetic(100_000, 7).tokens;
  const [sum, squares] = [n.reduce((a, b) => a + b, 0), n.reduce((a, b) => a + b * b, 0)];
  const deviation = Math.sqrt(squares + sum) / Math.sqrt(n.length) / (sum / n.length);
  assert.ok(Math.abs(many / ((2 * 1.96 * deviation) / 20) - 1) < 0.05, `${many}`);
});

test('what has no value has no interval, and neither has a single context', () => {
  const none = [Number.NaN, Number.NaN];
  assert.deepEqual(bootstrapIntervals({ nll: [6], tokens: [2] }, mean).ce, none);
  assert.deepEqual(bootstrapIntervals({ nll: [0, 0], tokens: [0, 1] }, mean).ce, none);
});
