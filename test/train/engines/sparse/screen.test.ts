import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generator } from '../../../../src/random/generator.js';
import { padded } from '../../../../src/train/engines/sparse/memory.js';
import { normalRows, normals } from './memory.js';
import { type Found, type Operands, Screening, ulpsBelow } from './screening.js';

/** Active as `encode` decides it: NaN counts. */
function isActive(p: number, bias: number): boolean {
  return !(Math.fround(p + bias) <= 0);
}

/** No active token is missing, and lists are ascending tokens of the batch. */
function assertComplete(screening: Screening, bias: Float32Array, found: Found, what: string): void {
  const { rows, B } = screening.operands;
  assert.equal(found.candidates.flat().length, found.count, `${what}: count`);
  for (let j = 0; j < rows; j++) {
    const list = found.candidates[j]!;
    assert.ok(
      list.every((token, k) => token < B && (k === 0 || token > list[k - 1]!)),
      `${what}: candidates ${list} of feature ${j}`,
    );
    const candidates = new Set(list);
    for (let b = 0; b < B; b++) {
      const p = screening.exact[j * B + b]!;
      if (isActive(p, bias[j]!)) assert.ok(candidates.has(b), `${what}: ${p} + ${bias[j]} of feature ${j}, token ${b}`);
    }
  }
}

/** Screens with biases that leave one token of each feature a few ulps above zero, another token each round. */
function assertCompleteAtThresholds(operands: Operands, levels: number, random: Generator, what: string, rounds = 6) {
  const screening = new Screening(operands, levels);
  const { rows, B } = operands;
  for (let round = 0; round < rounds; round++) {
    const bias = Float32Array.from({ length: rows }, (_, j) => {
      const p = screening.exact[j * B + random.below(B)]!;
      return Number.isFinite(p) ? -ulpsBelow(p, 1 + random.below(3)) : 0;
    });
    assertComplete(screening, bias, screening.run(bias), what);
  }
}

const SHAPES = [
  { rows: 5, B: 37, dIn: 16 },
  { rows: 9, B: 16, dIn: 35 },
  { rows: 1, B: 1, dIn: 3 },
  { rows: 4, B: 33, dIn: 200 },
] as const;

/** Rows of length dIn whose every number `make` gives. */
function rowsOf(count: number, dIn: number, make: (row: number, i: number) => number): Float32Array {
  const d = padded(dIn);
  return Float32Array.from({ length: count * d }, (_, k) => (k % d < dIn ? make(Math.floor(k / d), k % d) : 0));
}

for (const levels of [127, 63]) {
  test(`no token a few ulps above zero is missing (${levels} levels)`, () => {
    const random = new Generator(20, levels);
    for (const { rows, B, dIn } of SHAPES) {
      const d = padded(dIn);
      for (const [wScale, xScale] of [
        [1, 1],
        [1e-6, 1e3],
        [1e-14, 1e-14],
        [1e-12, 1e14],
        [1e14, 1e14],
      ] as const) {
        const w = normalRows(random, rows, dIn, wScale);
        const x = normalRows(random, B, dIn, xScale);
        const what = `${rows} × ${B} × ${dIn} of ${wScale} and ${xScale}`;
        assertCompleteAtThresholds({ w, x, rows, B, d }, levels, random, what);
        // Outlier dimensions leave few levels to the others.
        const outlier = (values: Float32Array) => values.map((v, k) => (k % d === 1 ? v * 100 : v));
        assertCompleteAtThresholds({ w: outlier(w), x: outlier(x), rows, B, d }, levels, random, `outliers, ${what}`);
        assertCompleteAtThresholds({ w, x: outlier(x), rows, B, d }, levels, random, `outliers of x, ${what}`);
        // Some rows of zeros.
        const holes = (values: Float32Array) => values.map((v, k) => (Math.floor(k / d) % 3 === 1 ? 0 : v));
        assertCompleteAtThresholds({ w: holes(w), x: holes(x), rows, B, d }, levels, random, `zeros, ${what}`);
      }
    }
  });

  // All of x that meets w is lost in the quantisation of x, or the other way round: the bound has nothing to spare.
  test(`no token whose whole product is quantisation error is missing (${levels} levels)`, () => {
    const random = new Generator(21, levels);
    const [rows, B, dIn] = [8, 21, 16];
    for (let round = 0; round < 10; round++) {
      const [large, met] = random.permutation(dIn);
      const sign = random.below(2) ? 1 : -1;
      const scale = 10 ** (6 * random.uniform() - 3);
      const lost = (n: number) => rowsOf(n, dIn, (row, i) => (i === large ? scale : i === met ? share(row) : 0));
      const share = (row: number) => (sign * scale * (0.499 - 0.01 * row)) / 127;
      const plain = (n: number) => rowsOf(n, dIn, (row, i) => (i === met ? sign * (1 + row / 8) : 0));
      assertCompleteAtThresholds({ w: plain(rows), x: lost(B), rows, B, d: dIn }, levels, random, 'lost in x');
      assertCompleteAtThresholds({ w: lost(rows), x: plain(B), rows, B, d: dIn }, levels, random, 'lost in w');
    }
  });
}

// Rows of one number have no quantisation error at all, and adding the same product again and again rounds the same
// way each time: only the widening for float32 stands between such tokens and being missed.
test('no token that only float32 roundings lift above zero is missing', () => {
  const random = new Generator(22);
  const [rows, B] = [6, 40];
  for (const d of [1024, 2304]) {
    const numbers = [normals(random, rows), normals(random, B)].map((values) => values.map((v) => 1 + Math.abs(v)));
    const [w, x] = numbers.map((values) => rowsOf(values.length, d, (row) => values[row]!));
    const screening = new Screening({ w: w!, x: x!, rows, B, d }, 127);
    let most = 0;
    for (let b = 0; b < B; b++) {
      const p = screening.exact.filter((_, k) => k % B === b);
      p.forEach((value, j) => {
        most = Math.max(most, value / (d * numbers[0]![j]! * numbers[1]![b]!) - 1);
      });
      const bias = p.map((value) => -ulpsBelow(value, 1));
      assertComplete(screening, bias, screening.run(bias), `d ${d}`);
    }
    assert.ok(most > 2e-6, `roundings lift these products by ${most} at most`);
  }
});

test('no token is missing where products underflow or overflow float32', () => {
  const random = new Generator(23);
  const [rows, B] = [6, 24];
  const tiny = [
    [1e-20, 1e-20],
    [1e-22, 1e-21],
    [1e-25, 1e-18],
    [1e-28, 1e-15],
    [1e-31, 1e-10],
    [1e-40, 1],
  ] as const;
  const huge = [
    [1e19, 1e19],
    [3e18, 1e19],
    [1e38, 1e3],
    [1e30, 1e9],
  ] as const;
  for (const dIn of [1, 2, 16, 50]) {
    const d = padded(dIn);
    for (const [a, b] of [...tiny, ...huge]) {
      for (const [wScale, xScale] of [
        [a, b],
        [b, a],
      ] as const) {
        const w = normalRows(random, rows, dIn, wScale);
        const x = normalRows(random, B, dIn, xScale);
        const what = `${dIn} of ${wScale} and ${xScale}`;
        assertCompleteAtThresholds({ w, x, rows, B, d }, 127, random, what);
        // Rows of one number lose nothing in quantisation, and every product of theirs underflows the same way.
        const same = (values: Float32Array) => values.map((_, k) => (k % d < dIn ? values[k - (k % d)]! : 0));
        assertCompleteAtThresholds({ w: same(w), x: same(x), rows, B, d }, 127, random, `the same number, ${what}`);
      }
    }
  }
  // The true products are far below zero, but one of the sums on the way is infinite before that shows.
  const part = rowsOf(B, 16, (_, i) => [0.6e19, -0.53e19, -0.26e19, -0.26e19][i % 4]!);
  const whole = rowsOf(rows, 16, () => 1.5e19);
  const screening = new Screening({ w: whole, x: part, rows, B, d: 16 }, 127);
  assert.equal(screening.exact[0], Number.POSITIVE_INFINITY);
  const bias = new Float32Array(rows);
  assertComplete(screening, bias, screening.run(bias), 'overflow in one lane');
});

test('tokens whose product is NaN are candidates, padded tokens never', () => {
  const random = new Generator(24);
  const [rows, B, dIn] = [5, 21, 20];
  const d = padded(dIn);
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    for (const which of ['w', 'x', 'both', 'bias'] as const) {
      const [w, x] = [normalRows(random, rows, dIn), normalRows(random, B, dIn)];
      if (which === 'w' || which === 'both') w[3 * d + 7] = value;
      if (which === 'x' || which === 'both') for (const token of [0, 9, 20]) x[token * d + 7] = value;
      const screening = new Screening({ w, x, rows, B, d }, 127);
      const bias = new Float32Array(rows).fill(-30);
      if (which === 'bias') bias[2] = value;
      assertComplete(screening, bias, screening.run(bias), `${value} in ${which}`);
    }
  }
});

test('−1 is returned exactly when there are more candidates than capacity', () => {
  const random = new Generator(25);
  for (const { rows, B, dIn } of SHAPES) {
    const d = padded(dIn);
    for (const bad of [undefined, Number.NaN, Number.POSITIVE_INFINITY]) {
      const w = normalRows(random, rows, dIn);
      // A row that bounds nothing makes candidates of all tokens, but not of the padding.
      if (bad !== undefined) w[Math.floor(rows / 2) * d] = bad;
      const screening = new Screening({ w, x: normalRows(random, B, dIn), rows, B, d }, 127);
      for (const level of [0, -1, -100]) {
        const bias = new Float32Array(rows).fill(level);
        const found = screening.run(bias);
        const what = `${rows} × ${B} × ${dIn}, bias ${level}, ${bad}`;
        assert.deepEqual(screening.run(bias, found.count), found, what);
        if (found.count > 0) assert.equal(screening.run(bias, found.count - 1).count, -1, what);
        if (found.count > 0) assert.equal(screening.run(bias, 0).count, -1, what);
        assert.deepEqual(screening.run(bias, found.count + 1), found, what);
      }
    }
  }
});

test('candidates are those of the bound, no more', () => {
  const random = new Generator(26);
  const [rows, B, d] = [8, 70, 32];
  // Rows of every scale, half of them with an outlier: each has a different step, error and length.
  const mixed = (count: number) => {
    const scales = Array.from({ length: count }, () => 10 ** (4 * random.uniform() - 2));
    const outliers = Array.from({ length: count }, () => (random.below(2) ? 40 : 1));
    return rowsOf(count, d, (row, i) => scales[row]! * random.normal() * (i === 5 ? outliers[row]! : 1));
  };
  for (let round = 0; round < 8; round++) {
    const screening = new Screening({ w: mixed(rows), x: mixed(B), rows, B, d }, 127);
    for (let token = 0; token < B; token++) {
      // Each token in turn stands just below the bound, where every term of it decides.
      const bias = Float32Array.from({ length: rows }, (_, j) => -screening.boundWithout(j, token) * 1.00001);
      const { candidates } = screening.run(bias);
      candidates.forEach((list, j) => {
        const isCandidate = new Set(list);
        for (let b = 0; b < B; b++) {
          const { value, size } = screening.bound(bias, j, b);
          if (Math.abs(value) > 1e-6 * size) assert.equal(isCandidate.has(b), value > 0, `feature ${j}, token ${b}`);
        }
      });
    }
  }
});

test('candidates of Gaussian data are few', () => {
  const random = new Generator(27);
  for (const levels of [127, 63]) {
    const [rows, B, d] = [20, 150, 256];
    const operands = { w: normalRows(random, rows, d), x: normalRows(random, B, d, 2), rows, B, d };
    const screening = new Screening(operands, levels);
    // The hundredth part of normal products lies above 2.326 standard deviations.
    const bias = new Float32Array(rows).fill(-2.326 * 2 * Math.sqrt(d));
    const { count } = screening.run(bias);
    const active = screening.exact.filter((p, k) => isActive(p, bias[Math.floor(k / B)]!)).length;
    assert.ok(active > 0.005 * rows * B && active <= count, `${active} active`);
    assert.ok(count < 0.05 * rows * B, `${count} candidates of ${rows * B} at ${levels} levels`);
  }
});
