import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CofiringSample } from '../../src/features/cofiring.js';
import { Entries, SortedEntries, scanRows } from '../../src/features/entries.js';
import { Histograms, quarterOctave } from '../../src/features/quarter-octaves.js';
import { exampleHash, Tally } from '../../src/features/tally.js';
import { Generator } from '../../src/random/generator.js';
import { type SlowContext, slowFeature } from './slow-collection.js';

const D_SAE = 11;
const LENGTH = 17;
const SETTINGS = { topK: 4, window: [3, 2] } as const;

/** Contexts with many ties, octaves that grow late, features that never fire, and positions that do not count. */
function randomContexts(count: number, seed: number): SlowContext[] {
  const random = new Generator(seed, 0, 0);
  return Array.from({ length: count }, (_, index) => {
    const counted = Array.from({ length: LENGTH }, (_, t) => t > 0 && random.below(9) > 0);
    const f = new Float32Array(LENGTH * D_SAE);
    for (let t = 0; t < LENGTH; t++) {
      for (let j = 0; j < D_SAE - 1; j++) {
        // Left-out tokens have no f; the last feature is dead, the first fires nearly everywhere.
        if (!counted[t] || random.below(j === 0 ? 10 : 2 + 3 * j) > (j === 0 ? 8 : 0)) continue;
        const scale = 2 ** (random.below(9) - 6 + Math.floor(index / 20));
        f[t * D_SAE + j] = scale * (1 + random.below(4) / 4);
      }
    }
    return { index, f, counted };
  });
}

/** Adds contexts as a collection does. */
function collected(contexts: readonly SlowContext[], first = 0, features = D_SAE) {
  const tally = new Tally(first, features, SETTINGS);
  const entries = new Entries();
  const sorted = new SortedEntries(D_SAE);
  for (const { index, f, counted } of contexts) {
    const positions = counted.flatMap((yes, t) => (yes ? [t] : []));
    const rows = Float32Array.from(positions.flatMap((t) => [...f.subarray(t * D_SAE, (t + 1) * D_SAE)]));
    entries.clear();
    scanRows(rows, D_SAE, positions, entries);
    sorted.sort(entries);
    for (let local = 0; local < features; local++) {
      const [from, to] = [sorted.starts[first + local]!, sorted.starts[first + local + 1]!];
      const place = { local, feature: first + local, context: index, end: Number.POSITIVE_INFINITY };
      if (from < to) tally.add(place, sorted, from, to);
    }
  }
  return tally;
}

test('statistics and examples are those of a plain scan over everything at once', () => {
  for (const seed of [1, 2, 3]) {
    const contexts = randomContexts(90, seed);
    const tally = collected(contexts);
    for (let j = 0; j < D_SAE; j++) {
      const slow = slowFeature(contexts, [j, D_SAE], SETTINGS);
      assert.equal(tally.activeTokens[j], slow.activeTokens);
      assert.equal(tally.sum[j], slow.sum);
      assert.equal(tally.max[j], slow.max);
      const { first, counts } = tally.histograms.of(j);
      const histogram = new Map(counts.map((n, b) => [first + b, n] as const).filter(([, n]) => n > 0));
      assert.deepEqual([...histogram].sort(), [...slow.histogram].sort());
      const examples = tally.examplesOf(j).map((one) => ({ ...one, activations: [...one.activations] }));
      assert.deepEqual(examples, slow.examples, `seed ${seed}, feature ${j}`);
    }
    assert.equal(tally.activeTokens[D_SAE - 1], 0);
  }
});

test('a part of the features is tallied as in the whole', () => {
  const contexts = randomContexts(40, 4);
  const [whole, part] = [collected(contexts), collected(contexts, 3, 5)];
  for (let j = 0; j < 5; j++) assert.deepEqual(part.examplesOf(j), whole.examplesOf(3 + j));
});

test('positions after the end appear in windows and are not counted', () => {
  const [context] = randomContexts(1, 5);
  const tally = new Tally(0, 1, { topK: 2, window: [1, 2] });
  const entries = new Entries();
  for (const [t, value] of [1, 3, 8, 16].entries()) entries.push(0, t + 1, value);
  const sorted = new SortedEntries(1);
  sorted.sort(entries);
  tally.add({ local: 0, feature: 0, context: context!.index, end: 3 }, sorted, 0, 4);
  assert.deepEqual([tally.activeTokens[0], tally.sum[0], tally.max[0]], [2, 4, 3]);
  const [top] = tally.examplesOf(0);
  assert.deepEqual([top!.position, [...top!.activations]], [2, [1, 3, 8, 16]]);
});

test('a scan finds what is above 0, rows first, whatever the number of features', () => {
  const random = new Generator(7, 0, 0);
  for (const [rows, dSae] of [
    [1, 1],
    [3, 7],
    [5, 8],
    [4, 33],
    [9, 3],
  ] as const) {
    const f = Float32Array.from({ length: rows * dSae }, () => [0, 0, -0, 1.5, 1e-40, -1][random.below(6)]!);
    const positions = Array.from({ length: rows }, (_, r) => 2 * r + 1);
    const entries = new Entries();
    scanRows(f, dSae, positions, entries);
    const expected = [...f].flatMap((v, at) => (v > 0 ? [[at % dSae, positions[Math.floor(at / dSae)], v]] : []));
    const found = Array.from({ length: entries.length }, (_, i) => {
      return [entries.features[i], entries.positions[i], entries.values[i]];
    });
    assert.deepEqual(found, expected);
  }
  const entries = new Entries();
  scanRows(Float32Array.of(0, Number.NaN), 2, [0], entries);
  assert.ok(Number.isNaN(entries.values[0]) && entries.length === 1);
});

test('quarter octaves are exact at their bounds, and for subnormal numbers', () => {
  const bits = (value: number) => new Uint32Array(Float32Array.of(value).buffer)[0]!;
  for (let octave = -149; octave < 128; octave++) {
    assert.equal(quarterOctave(bits(2 ** octave)), 4 * octave);
    // The float32 before: the last quarter of the octave below, if that has enough.
    if (octave > -146) assert.equal(quarterOctave(bits(2 ** octave) - 1) >> 2, octave - 1);
    if (octave < -126) continue;
    for (const k of [1, 2, 3]) {
      const bound = bits(2 ** (octave + k / 4));
      const values = new Float32Array(Uint32Array.of(bound - 1, bound, bound + 1).buffer);
      for (const [i, value] of values.entries()) {
        const expected = 4 * octave + (value >= 2 ** (octave + k / 4) ? k : k - 1);
        assert.equal(quarterOctave(bound - 1 + i), expected);
      }
    }
  }
  const histograms = new Histograms(2);
  for (const q of [-3, 90, -200, 90]) histograms.add(1, q);
  const { first, counts } = histograms.of(1);
  assert.deepEqual([first, counts.length, counts.at(-1), counts.reduce((a, b) => a + b)], [-200, 291, 2, 4]);
  assert.deepEqual(histograms.of(0), { first: 0, counts: [] });
});

test('the hash is the one that the documentation gives', () => {
  // h = 7 · 0x9e3779b1 + 3; murmur3's fmix32 of it, computed with Python's integers.
  assert.equal(exampleHash(0, 0), 0);
  assert.equal(exampleHash(7, 3), fmix32((7n * 0x9e3779b1n + 3n) & 0xffffffffn));
  assert.equal(exampleHash(2 ** 32 - 1, 131_071), fmix32(((2n ** 32n - 1n) * 0x9e3779b1n + 131_071n) & 0xffffffffn));
});

function fmix32(h: bigint): number {
  const mask = 0xffffffffn;
  let x = ((h ^ (h >> 16n)) * 0x85ebca6bn) & mask;
  x = ((x ^ (x >> 13n)) * 0xc2b2ae35n) & mask;
  return Number(x ^ (x >> 16n));
}

test('co-firing equals sums over all pairs, and stops where it is full', async () => {
  const contexts = randomContexts(30, 9);
  const sample = new CofiringSample(D_SAE);
  const rows: number[][] = [];
  for (const { f, counted } of contexts) {
    const entries = new Entries();
    const positions = counted.flatMap((yes, t) => (yes ? [t] : []));
    for (const t of positions) rows.push([...f.subarray(t * D_SAE, (t + 1) * D_SAE)]);
    scanRows(Float32Array.from(rows.slice(-positions.length).flat()), D_SAE, positions, entries);
    sample.add(entries, positions);
  }
  assert.equal(sample.tokens, rows.length);
  const mean = (j: number, k?: number) =>
    rows.reduce((sum, row) => sum + row[j]! * (k === undefined ? 1 : row[k]!), 0) / rows.length;
  const covariance = (j: number, k: number) => mean(j, k) - mean(j) * mean(k);
  const pearson = (j: number, k: number) => covariance(j, k) / Math.sqrt(covariance(j, j) * covariance(k, k));
  const cofiring = await sample.correlations(3, async () => {});
  for (let j = 0; j < D_SAE; j++) {
    const together = (k: number) => rows.filter((row) => row[j]! > 0 && row[k]! > 0).length;
    const all = [...Array(D_SAE).keys()].filter((k) => k !== j && together(k) > 0 && pearson(j, k) > 0);
    const found = cofiring(j);
    const expected = all.sort((a, b) => pearson(j, b) - pearson(j, a)).slice(0, 3);
    assert.deepEqual(found.features, expected);
    assert.deepEqual(found.tokens, expected.map(together));
    for (const [i, k] of expected.entries()) assert.ok(Math.abs(found.correlations[i]! - pearson(j, k)) < 1e-9);
  }
  const full = new CofiringSample(D_SAE, 20);
  for (const { f, counted } of contexts) {
    const entries = new Entries();
    scanRows(f, D_SAE, counted.map((_, t) => t) as number[], entries);
    full.add(entries, counted.map((_, t) => t) as number[]);
  }
  assert.ok(full.full && full.tokens < rows.length);
});
