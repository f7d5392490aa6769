import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generator } from '../../../../src/random/generator.js';
import { padded } from '../../../../src/train/engines/sparse/memory.js';
import { assertClose, assertSame, assertZeroPadding } from './compare.js';
import { PATTERNS, randomEntries } from './entries.js';
import { type Memory, memoryOf, normalRows, normals, unset } from './memory.js';

/** out[b] + Σ values W_dec over the entries of b, in float64. */
function decoded(out: Float32Array, start: Uint32Array, feature: Uint32Array, values: Float32Array, w: Float32Array) {
  const d = out.length / (start.length - 1);
  const sums = Float64Array.from(out);
  for (let b = 0; b + 1 < start.length; b++) {
    for (let k = start[b]!; k < start[b + 1]!; k++) {
      for (let i = 0; i < d; i++) sums[b * d + i]! += values[k]! * w[feature[k]! * d + i]!;
    }
  }
  return sums;
}

/** Decodes f into `out` and the values `second` into `aux`, then f alone into `standard`. */
function decodeBoth<T extends Parameters<typeof memoryOf>[0]>(
  memory: Memory<T>,
  second: 'f' | 'g',
  B: number,
  d: number,
) {
  const { at, kernels } = memory;
  const step = memory.block('Step', { B, dOut: d, wDec: at('wDec') });
  const lists = { tokenStart: at('start'), feature: at('feature'), f: at('f') };
  kernels.decode(step, memory.block('Entries', { ...lists, g: at(second), r: at('out'), second: at('aux') }));
  kernels.decode(step, memory.block('Entries', { ...lists, g: 0, r: at('standard'), second: 0 }));
}

test('decoding adds each token’s sums of decoder rows to the existing values', () => {
  const random = new Generator(50);
  for (const { features, B, dIn, density } of PATTERNS) {
    const d = padded(dIn);
    // Rows are tokens here: the entries of a token, and their features.
    const tokens = randomEntries(
      random,
      B,
      features,
      (b) => density(b % features),
      () => random.normal(),
    );
    const { entryStart: start, token: feature, p: f, count } = tokens;
    const g = normals(random, f.length);
    const wDec = normalRows(random, features, dIn);
    const [out, aux] = [normalRows(random, B, dIn), normalRows(random, B, dIn)];
    const memory = memoryOf({ start, feature, f, g, wDec, out, aux, standard: out });
    const { now } = memory;
    decodeBoth(memory, 'g', B, d);
    memory.assertMargins();
    const what = `${count} entries of ${features} × ${B}`;
    assertClose(now.out, decoded(out, start, feature, f, wDec), `out, ${what}`);
    assertClose(now.aux, decoded(aux, start, feature, g, wDec), `aux, ${what}`);
    assertSame(now.standard, now.out, `standard out, ${what}`);
    for (const name of ['out', 'aux', 'standard'] as const) assertZeroPadding(now[name], dIn, d, name);
    // Every token, not only the largest: each row on its own scale.
    const rows = decoded(out, start, feature, f, wDec);
    for (let b = 0; b < B; b++) {
      assertClose(now.out.subarray(b * d, b * d + d), rows.subarray(b * d, b * d + d), `token ${b}, ${what}`);
    }
  }
});

test('an entry that is NaN reaches its token’s sums, and no other’s', () => {
  const d = 16;
  const start = Uint32Array.of(0, 5, 9);
  const feature = Uint32Array.of(0, 1, 2, 3, 4, 0, 1, 2, 3);
  for (const at of [0, 3, 4]) {
    const f = new Float32Array(9).fill(1);
    f[at] = Number.NaN;
    const w = new Float32Array(5 * d).fill(1);
    const sums = { out: new Float32Array(2 * d), aux: new Float32Array(2 * d), standard: new Float32Array(2 * d) };
    const memory = memoryOf({ start, feature, f, wDec: w, ...sums });
    decodeBoth(memory, 'f', 2, d);
    for (const sums of [memory.now.out, memory.now.aux]) {
      assertSame(
        sums,
        Float32Array.from({ length: 2 * d }, (_, i) => (i < d ? Number.NaN : 4)),
        `entry ${at}`,
      );
    }
  }
});

test('a decoder row that is NaN reaches the tokens that have its feature, and no other', () => {
  const d = 16;
  const w = new Float32Array(8 * d).fill(1).fill(Number.NaN, 7 * d);
  // Groups of four are filled up: not with what comes after the token's own entries, the next token's feature 7.
  for (let count = 1; count <= 7; count++) {
    const start = Uint32Array.of(0, count, count + 1);
    const feature = Uint32Array.from({ length: count + 1 }, (_, k) => (k < count ? k : 7));
    const f = new Float32Array(count + 1).fill(1);
    const sums = { out: new Float32Array(2 * d), aux: new Float32Array(2 * d), standard: new Float32Array(2 * d) };
    const memory = memoryOf({ start, feature, f, wDec: w, ...sums });
    const { now } = memory;
    decodeBoth(memory, 'f', 2, d);
    for (const name of ['out', 'aux', 'standard'] as const) {
      const wanted = Float32Array.from({ length: 2 * d }, (_, i) => (i < d ? count : Number.NaN));
      assertSame(now[name], wanted, `${name} of ${count} entries`);
    }
  }
});

test('residual makes factor · (sum − xc) in place and returns the sum of squares', () => {
  const random = new Generator(51);
  for (const [rows, dIn] of [
    [1, 16],
    [5, 35],
    [33, 16],
    [0, 16],
  ] as const) {
    const d = padded(dIn);
    // One row more than requested: it belongs to another worker.
    const [sum, xc] = [normalRows(random, rows + 1, dIn), normalRows(random, rows + 1, dIn)];
    const factor = Math.fround(2 / 7);
    const memory = memoryOf({ sum, xc });
    const total = memory.kernels.residual(memory.at('sum'), memory.at('xc'), rows, d, factor);
    let wanted = 0;
    const r = sum.map((value, i) => {
      if (i >= rows * d) return value;
      wanted += (value - xc[i]!) ** 2;
      return Math.fround(Math.fround(value - xc[i]!) * factor);
    });
    assertSame(memory.now.sum, r, 'r');
    assert.ok(Math.abs(total - wanted) <= 1e-6 * wanted, `${total}, not ${wanted}`);
    memory.assertMargins();
  }
  const memory = memoryOf({ sum: new Float32Array(16).fill(Number.NaN, 7, 8), xc: new Float32Array(16) });
  assert.equal(memory.kernels.residual(memory.at('sum'), memory.at('xc'), 1, 16, 1), Number.NaN);
});

test('scale gives that many bytes of the factor’s multiple', () => {
  const memory = memoryOf({ from: Float32Array.from({ length: 32 }, (_, i) => i), to: unset(32) });
  memory.kernels.scale(memory.at('to'), memory.at('from'), 64, -0.5);
  assertSame(
    memory.now.to,
    unset(32).map((value, i) => (i < 16 ? -i / 2 : value)),
    'to',
  );
});

test('addTo adds that many bytes, sumRows adds rows in their order', () => {
  const random = new Generator(52);
  for (const [rows, d] of [
    [1, 16],
    [3, 32],
    [40, 48],
  ] as const) {
    const [to, from] = [normals(random, rows * d), normals(random, rows * d)];
    const memory = memoryOf({ to, from, out: unset(d) });
    const { at, kernels, now } = memory;
    kernels.sumRows(at('from'), rows, d, at('out'));
    const sums = new Float32Array(d);
    from.forEach((value, k) => {
      sums[k % d]! += value;
    });
    assertSame(now.out, sums, 'sums');
    const length = rows * d - 4;
    kernels.addTo(at('to'), at('from'), 4 * length);
    assertSame(
      now.to,
      to.map((value, k) => (k < length ? value + from[k]! : value)),
      'to',
    );
    memory.assertMargins();
  }
});
