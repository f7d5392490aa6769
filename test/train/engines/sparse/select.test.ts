import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generator } from '../../../../src/random/generator.js';
import { padded } from '../../../../src/train/engines/sparse/memory.js';
import { assertSame } from './compare.js';
import { largest } from './k-twin.js';
import { memoryOf, normalRows, normals, unset, unsetIntegers } from './memory.js';
import { Screening } from './screening.js';

const all = (n: number) => Array.from({ length: n }, (_, i) => i);

/** The entries [feature, token] that the kernels select of h [features, B], p = h and bias 0, k of each token. */
function selected(h: Float32Array, features: number, B: number, k: number, slices: readonly number[]): string[] {
  const Bp = padded(B);
  const parts = slices.map((first, n) => {
    const rows = (slices[n + 1] ?? features) - first;
    const product = new Float32Array(rows * Bp).fill(1e9);
    for (let j = 0; j < rows; j++) product.set(h.subarray((first + j) * B, (first + j + 1) * B), j * Bp);
    const memory = memoryOf({
      ...{ product, bias: new Float32Array(rows), start: unsetIntegers(rows + 1) },
      ...{ token: unsetIntegers(rows * B + 1), p: unset(rows * B + 1), top: unset((B + 1) * k) },
      ...{ floor: unset(B), ties: unsetIntegers(B) },
    });
    const { at, kernels } = memory;
    const step = memory.block('Step', { features: rows, B, Bp, opens: at('bias'), bias: at('bias') });
    const list = memory.block('Entries', {
      ...{ k, start: at('start'), token: at('token'), p: at('p') },
      ...{ top: at('top'), floor: at('floor'), ties: at('ties') },
    });
    kernels.open(step, list);
    // In two strips, between which what fell below the k largest is dropped.
    const half = rows >> 1;
    kernels.compact(step, list, at('product'), 0, 0, half);
    kernels.findFloor(at('top'), 1, B, k, at('floor'), at('ties'));
    kernels.prune(step, list);
    kernels.compact(step, list, at('product') + 4 * half * Bp, 0, half, rows - half);
    return { first, rows, memory, step, list };
  });
  // As workers do it, one after another.
  const tops = new Float32Array((parts.length * B + 1) * k);
  parts.forEach(({ memory }, n) => {
    tops.set(memory.now.top.subarray(0, B * k), n * B * k);
  });
  const shared = memoryOf({ tops, floor: unset(B), ties: unsetIntegers(parts.length * B) });
  shared.kernels.findFloor(shared.at('tops'), parts.length, B, k, shared.at('floor'), shared.at('ties'));
  shared.assertMargins();
  return parts.flatMap(({ first, rows, memory, step, list }, n) => {
    memory.now.floor.set(shared.now.floor);
    memory.now.ties.set(shared.now.ties.subarray(n * B, (n + 1) * B));
    memory.kernels.prune(step, list);
    memory.kernels.close(step, list);
    memory.assertMargins();
    const { start, token, p } = memory.now;
    return all(rows).flatMap((j) =>
      all(start[j + 1]! - start[j]!).map((i) => {
        const [t, value] = [token[start[j]! + i]!, p[start[j]! + i]!];
        assert.ok(Object.is(value, h[(first + j) * B + t]), `p of feature ${first + j}, token ${t}`);
        return `${first + j},${t}`;
      }),
    );
  });
}

/** The same by sorting; NaN counts as infinite. */
function wanted(h: Float32Array, features: number, B: number, k: number): string[] {
  const kept = all(B).flatMap((b) => {
    const column = all(features).map((j) => h[j * B + b]!);
    const keys = column.map((value) => (Number.isNaN(value) ? Number.POSITIVE_INFINITY : value));
    return largest(keys, all(features), k).map((j) => [j, b] as const);
  });
  return kept.sort((x, y) => x[0] - y[0] || x[1] - y[1]).map(([j, b]) => `${j},${b}`);
}

const VALUES: Record<string, (random: Generator) => number> = {
  'normal numbers': (random) => random.normal(),
  'few positive numbers': (random) => random.normal() - 2,
  'many ties': (random) => Math.round(2 * random.normal()) / 2,
  'nothing positive': (random) => -Math.abs(random.normal()),
  'NaN and infinities': (random) =>
    [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1, 2][random.below(5)]!,
  'one number': () => 1,
};

for (const [what, value] of Object.entries(VALUES)) {
  test(`the k largest of ${what} are those of a sort, over any number of slices`, () => {
    const random = new Generator(95);
    for (const [features, B] of [
      [1, 1],
      [7, 3],
      [40, 17],
    ] as const) {
      for (const k of [1, 2, 5, features - 1, features, features + 3]) {
        if (k < 1) continue;
        for (const slices of [[0], [0, Math.ceil(features / 2)], [0, 2, 9, 30]]) {
          if (slices.some((first) => first >= features)) continue;
          const h = Float32Array.from({ length: features * B }, () => value(random));
          assert.deepEqual(selected(h, features, B, k, slices), wanted(h, features, B, k), `${features}, ${B}, k ${k}`);
        }
      }
    }
  });
}

test('compact of chosen features lists them under their own indices, the others without entries', () => {
  const [features, B] = [9, 5];
  const Bp = padded(B);
  const product = normals(new Generator(96), 3 * Bp).map(Math.abs);
  const memory = memoryOf({
    ...{
      product,
      chosen: Uint32Array.of(2, 3, 7),
      bias: new Float32Array(features),
      start: unsetIntegers(features + 1),
    },
    ...{ token: unsetIntegers(3 * B + 1), p: unset(3 * B + 1), top: unset(B * B) },
  });
  const { at, kernels, now } = memory;
  const step = memory.block('Step', { features, B, Bp, opens: at('bias'), bias: at('bias') });
  const arrays = { start: at('start'), token: at('token'), p: at('p'), top: at('top') };
  const list = memory.block('Entries', { k: 4, ...arrays });
  kernels.open(step, list);
  kernels.compact(step, list, at('product'), at('chosen'), 0, 3);
  kernels.close(step, list);
  assertSame(now.start, [0, 0, 0, B, 2 * B, 2 * B, 2 * B, 2 * B, 3 * B, 3 * B], 'start');
  assertSame(now.p.subarray(B, 2 * B), product.subarray(Bp, Bp + B), 'p');
});

test('raised guesses are roots of the heaps, and just below the m-th largest of each token', () => {
  const random = new Generator(98);
  const [B, k, m, features] = [9, 7, 4, 40];
  const product = normals(random, features * padded(B));
  const memory = memoryOf({
    ...{ product, bias: new Float32Array(features), start: unsetIntegers(features + 1) },
    ...{ token: unsetIntegers(features * B + 1), p: unset(features * B + 1), top: unset(B * k), guesses: unset(B) },
  });
  const { at, kernels, now } = memory;
  const step = memory.block('Step', { features, B, Bp: padded(B), opens: at('bias'), bias: at('bias') });
  const arrays = { start: at('start'), token: at('token'), p: at('p'), top: at('top') };
  const list = memory.block('Entries', { k, ...arrays });
  kernels.open(step, list);
  kernels.compact(step, list, at('product'), 0, 0, features);
  const before = now.top.slice();
  kernels.raise(step, list, m, at('guesses'));
  memory.assertMargins();
  for (const b of all(B)) {
    const [old, heap] = [before, now.top].map((top) => top.subarray(b * k, (b + 1) * k));
    const guess = now.guesses[b]!;
    assertSame(
      heap!,
      old!.map((value) => Math.max(value, guess)),
      'heap',
    );
    assert.equal(heap![0], guess);
    const sorted = old!.toSorted().reverse();
    assert.ok(guess < sorted[m - 1]! && guess > sorted[m - 1]! - 0.01, `${guess} of ${sorted}`);
  }
});

test('what the screen excludes below a token’s k-th largest is not among the k largest', () => {
  const random = new Generator(97);
  const [rows, B, dIn] = [9, 21, 40];
  const d = padded(dIn);
  for (const scale of [1, 1e-12, 1e12]) {
    const operands = { w: normalRows(random, rows, dIn), x: normalRows(random, B, dIn, scale), rows, B, d };
    const screening = new Screening(operands, 127);
    let [found, excluded] = [0, 0];
    for (let round = 0; round < 20; round++) {
      // Biases far above the products are what float32 rounds most.
      const bias = normals(random, rows, [0, scale, 1e5 * scale, 1e8 * scale][round % 4]);
      // Roots that some feature's pre-activation exceeds by the least that float32 can tell.
      const tops = Float32Array.from({ length: B * 3 }, (_, n) => {
        const b = Math.floor(n / 3);
        const j = random.below(rows);
        const h = Math.fround(screening.exact[j * B + b]! + bias[j]!);
        return n % 3 === 0 ? Math.max(0, h - Math.abs(h) * 2 ** -23) : Number.MAX_VALUE;
      });
      const { candidates } = screening.run(bias, rows * B, tops);
      for (let j = 0; j < rows; j++) {
        const listed = new Set(candidates[j]);
        for (let b = 0; b < B; b++) {
          const h = Math.fround(screening.exact[j * B + b]! + bias[j]!);
          if (h > tops[3 * b]!) assert.ok(listed.has(b), `${h} of feature ${j}, token ${b} is above ${tops[3 * b]}`);
          if (h > tops[3 * b]!) found++;
          if (!listed.has(b)) excluded++;
        }
      }
    }
    assert.ok(found > 100 && excluded > 100, `${found} above, ${excluded} excluded`);
  }
});
