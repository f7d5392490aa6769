import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generator, Purpose } from '../../src/random/generator.js';
import { ARCHITECTURES, initialise, trainable, trainingOf } from '../../src/sae/registry.js';
import { encoderScale, FIRST_L0, firstThresholds } from '../../src/train/sparse-start.js';

const [dIn, dSae, rows] = [8, 600, 500];

function sample(): Float32Array {
  const random = new Generator(1, Purpose.initialisation);
  // A mean, a large dimension and a few very long activations, as language models have them.
  return Float32Array.from({ length: rows * dIn }, (_, k) => {
    const long = Math.floor(k / dIn) % 97 === 0 ? 30 : 1;
    return long * (random.normal() * (k % dIn === 3 ? 9 : 1) + 2);
  });
}

/** Pre-activations of a feature, one after another. */
function preActivations(x: Float32Array, W_enc: Float32Array, feature: number): number[] {
  return Array.from({ length: rows }, (_, row) => {
    let p = 0;
    for (let i = 0; i < dIn; i++) p += x[row * dIn + i]! * W_enc[i * dSae + feature]!;
    return p;
  });
}

test('every feature fires on the same share of the sample, 32 per token in all', async () => {
  const x = sample();
  const { parameters } = initialise('gated', { dIn, dOut: dIn, dSae }, 0);
  const thresholds = await firstThresholds(x, parameters.W_enc!, { dIn, dSae }, 1);
  const wanted = Math.round((rows * FIRST_L0) / dSae);
  for (let j = 0; j < dSae; j += 7) {
    const p = preActivations(x, parameters.W_enc!, j).sort((a, b) => b - a);
    const between = (p[wanted - 1]! + p[wanted]!) / 2;
    assert.ok(Math.abs(thresholds[j]! - between) < 1e-4 * Math.abs(p[0]!), `feature ${j}`);
  }
});

test('thresholds are the same bytes for every number of threads', async () => {
  const x = sample();
  const { parameters } = initialise('gated', { dIn, dOut: dIn, dSae }, 0);
  const of = (threads: number) => firstThresholds(x, parameters.W_enc!, { dIn, dSae }, threads);
  const one = await of(1);
  for (const threads of [2, 3]) assert.deepEqual(await of(threads), one);
});

test('a small dictionary starts with a sixteenth of its features', async () => {
  const small = { dIn, dOut: dIn, dSae: 64 };
  const { parameters } = initialise('standard', small, 0);
  const x = sample();
  const thresholds = await firstThresholds(x, parameters.W_enc!, small, 1);
  let firing = 0;
  for (let row = 0; row < rows; row++) {
    for (let j = 0; j < small.dSae; j++) {
      let p = 0;
      for (let i = 0; i < dIn; i++) p += x[row * dIn + i]! * parameters.W_enc![i * small.dSae + j]!;
      if (p > thresholds[j]! + 1e-4) firing++;
    }
  }
  assert.ok(Math.abs(firing / rows - 4) < 0.2, String(firing / rows));
});

test('a single activation, and ones that are not finite, leave thresholds at 0', async () => {
  const { parameters } = initialise('gated', { dIn, dOut: dIn, dSae }, 0);
  const of = (x: Float32Array) => firstThresholds(x, parameters.W_enc!, { dIn, dSae }, 1);
  assert.ok((await of(sample().subarray(0, dIn))).every((t) => t === 0));
  assert.ok((await of(new Float32Array(rows * dIn).fill(Number.NaN))).every((t) => t === 0));
});

test('the k largest of a token reconstruct a quarter of it, whatever the number of strips', async () => {
  const x = sample();
  const { parameters } = initialise('topk', { dIn, dOut: dIn, dSae }, 0);
  const W_enc = parameters.W_enc!;
  const k = 7;
  const scale = await encoderScale(x, W_enc, { dIn, dSae }, { k, threads: 1 });
  const all = Array.from({ length: dSae }, (_, j) => preActivations(x, W_enc, j));
  let found = 0;
  for (let row = 0; row < rows; row++) {
    const p = all.map((of) => Math.max(0, of[row]!)).sort((a, b) => b - a);
    for (const value of p.slice(0, k)) found += scale * value * value;
  }
  const wanted = x.reduce((sum, value) => sum + value * value, 0);
  assert.ok(Math.abs(found / wanted - 1 / 4) < 1e-4, String(found / wanted));
});

for (const name of trainable) {
  const { sparseStart, nonNegative } = trainingOf(name);
  const { unit, encode } = ARCHITECTURES[name];
  // One with a threshold jumps there; it has a test below.
  if (sparseStart?.kind !== 'thresholds' || nonNegative?.includes('threshold') || !unit || !encode) continue;
  test(`${name}: f of a feature rises from 0 at its threshold`, () => {
    const sizes = { dIn: 2, dOut: 2, dSae: 2 };
    const { parameters } = initialise(name, sizes, 0);
    Object.assign(parameters, sparseStart.opening(Float32Array.of(1.5, -0.5)));
    for (const [feature, t] of [1.5, -0.5].entries()) {
      const f = unit(parameters, feature);
      assert.deepEqual([f(t - 1), f(t)], [0, 0]);
      assert.ok(Math.abs(f(t + 0.25) - 0.25) < 1e-6);
    }
  });
}

test('jumprelu: a feature fires exactly above its threshold, from the θ that it begins with', () => {
  const { sparseStart } = trainingOf('jumprelu');
  const { unit } = ARCHITECTURES.jumprelu;
  assert.ok(sparseStart?.kind === 'thresholds' && unit);
  const { parameters } = initialise('jumprelu', { dIn: 2, dOut: 2, dSae: 2 }, 0);
  const first = Float32Array.from(parameters.threshold!);
  assert.ok(first.every((theta) => theta > 0));
  Object.assign(parameters, sparseStart.opening(Float32Array.of(1.5, -0.5)));
  assert.deepEqual(parameters.threshold, first);
  for (const [feature, t] of [1.5, -0.5].entries()) {
    const f = unit(parameters, feature);
    const theta = first[feature]!;
    assert.deepEqual([f(t - 1), f(t - 1e-6)], [0, 0]);
    for (const above of [1e-6, 0.25]) assert.ok(Math.abs(f(t + above) - (theta + above)) < 1e-6, `${t} + ${above}`);
  }
});
