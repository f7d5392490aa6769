import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generator } from '../../../../src/random/generator.js';
import { padded } from '../../../../src/train/engines/sparse/memory.js';
import { assertSame } from './compare.js';
import { memoryOf, normalRows, normals, padRows, unset } from './memory.js';

/** The row lengths and quantities that `quantise` gives for rows. */
function quantised(source: Float32Array, rows: number, d: number, levels: number, flip: number) {
  const numbers = { inverse: unset(rows), error: unset(rows), length: unset(rows) };
  const memory = memoryOf({ source, q: new Uint8Array(rows * d).fill(77), ...numbers });
  const { at } = memory;
  const fields = { q: at('q'), inverse: at('inverse'), error: at('error'), length: at('length') };
  memory.kernels.quantise(at('source'), rows, memory.block('Quantised', { d, levels, flip, ...fields }));
  memory.assertMargins();
  return memory.now;
}

/** The nearest integer, halves to the even one. */
function nearestEven(x: number): number {
  const low = Math.floor(x);
  if (x - low !== 0.5) return Math.round(x);
  return low % 2 === 0 ? low : low + 1;
}

/** What the bound in `screen` rests on, checked in float64. Returns the largest share of the bound that is used. */
function assertBounds(source: Float32Array, rows: number, d: number, levels: number, what: string): number {
  const { q, inverse, error, length } = quantised(source, rows, d, levels, 0);
  const signed = new Int8Array(q.buffer, q.byteOffset, q.length);
  let used = 0;
  for (let row = 0; row < rows; row++) {
    let [off, whole, rounded] = [0, 0, 0];
    for (let i = row * d; i < (row + 1) * d; i++) {
      const exact = source[i]! * inverse[row]!;
      off += (exact - signed[i]!) ** 2;
      whole += exact ** 2;
      rounded += signed[i]! ** 2;
    }
    assert.ok(error[row]! >= Math.sqrt(off), `${what}: error ${error[row]} of row ${row} is below ${Math.sqrt(off)}`);
    const longest = Math.sqrt(Math.max(whole, rounded));
    assert.ok(length[row]! >= longest, `${what}: length ${length[row]} of row ${row} is below ${longest}`);
    used = Math.max(used, Math.sqrt(off) / error[row]!);
    assert.ok(error[row]! <= 1.001 * Math.sqrt(off) + Math.sqrt(d) * levels * 4e-7, `${what}: error is loose`);
    assert.ok(length[row]! <= 1.001 * longest + 1.01 * error[row]!, `${what}: length is loose`);
  }
  return used;
}

for (const levels of [127, 63]) {
  test(`rows become the nearest of ${levels} levels`, () => {
    const random = new Generator(3, levels);
    for (const [rows, dIn, scale] of [
      [7, 16, 1],
      [1, 1, 3],
      [4, 35, 1e-9],
      [3, 130, 1e9],
      [2, 64, 1],
    ] as const) {
      const d = padded(dIn);
      const source = normalRows(random, rows, dIn, scale);
      for (const flip of [0, 128]) {
        const { q, inverse } = quantised(source, rows, d, levels, flip);
        const inverses = Array.from({ length: rows }, (_, row) => {
          const largest = source.subarray(row * d, (row + 1) * d).reduce((max, x) => Math.max(max, Math.abs(x)), 0);
          return Math.fround(levels / largest);
        });
        assertSame(inverse, inverses, 'inverse');
        const integers = Array.from(source, (x, i) => nearestEven(Math.fround(x * inverses[Math.floor(i / d)]!)));
        assert.ok(integers.every((x) => Math.abs(x) <= levels) && integers.some((x) => Math.abs(x) === levels));
        assertSame(
          q,
          integers.map((x) => (flip ? x + 128 : x & 255)),
          `q with flip ${flip}`,
        );
      }
    }
  });

  test(`errors and lengths bound the exact ones at ${levels} levels, not loosely`, () => {
    const random = new Generator(4, levels);
    for (const [rows, dIn] of [
      [20, 16],
      [20, 3],
      [10, 130],
      [5, 1000],
    ] as const) {
      const d = padded(dIn);
      assertBounds(normalRows(random, rows, dIn), rows, d, levels, 'normal');
      assertBounds(normalRows(random, rows, dIn, 1e-12), rows, d, levels, 'small');
      const outliers = normalRows(random, rows, dIn);
      for (let row = 0; row < rows; row++) outliers[row * d + random.below(dIn)] = 1000;
      assertBounds(outliers, rows, d, levels, 'outliers');
      // Numbers on the levels: only the roundings of x · (1 / step) are left, and they must be bounded too.
      const onLevels = Array.from({ length: rows * dIn }, (_, i) =>
        Math.fround(0.3 * (i % dIn === 0 ? levels : random.below(2 * levels + 1) - levels)),
      );
      const used = assertBounds(padRows(onLevels, rows, dIn), rows, d, levels, 'on the levels');
      assert.ok(dIn < 3 || used > 0.01, `the roundings were not tried: ${used}`);
      // Numbers halfway between levels are as far off as can be.
      const halves = Array.from({ length: rows * dIn }, (_, i) =>
        i % dIn === 0 ? levels : random.below(levels) + 0.5,
      );
      assertBounds(padRows(halves, rows, dIn), rows, d, levels, 'halfway');
    }
  });
}

test('rows of zeros, and rows too small to divide by, are zeros whose whole length is error', () => {
  const d = 16;
  for (const tiny of [0, 1e-31, 1e-40]) {
    const source = new Float32Array(2 * d).fill(tiny);
    const { q, inverse } = quantised(source, 2, d, 127, 0);
    assertSame(q, new Uint8Array(2 * d), 'q');
    assertSame(inverse, [1, 1], 'inverse');
    assertBounds(source, 2, d, 127, `rows of ${tiny}`);
  }
});

test('rows with NaN or infinities have no finite bound', () => {
  const d = 32;
  const random = new Generator(5);
  for (const value of [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY]) {
    for (const i of [0, 5, 11, 30]) {
      const source = normals(random, 2 * d);
      source[d + i] = value;
      const { error, length } = quantised(source, 2, d, 127, 128);
      assert.ok(Number.isFinite(error[0]!) && Number.isFinite(length[0]!), 'the other row');
      assert.ok(!Number.isFinite(error[1]!) && !Number.isFinite(length[1]!), `${value} at ${i}`);
    }
  }
});

test('transposeBytes exchanges rows and columns and writes zeros beyond the rows', () => {
  const random = new Generator(6);
  for (const [rows, d] of [
    [1, 16],
    [15, 32],
    [16, 16],
    [17, 48],
    [40, 16],
    [64, 80],
    [33, 16],
  ] as const) {
    const wide = padded(rows);
    const from = Uint8Array.from({ length: rows * d }, () => random.below(256));
    const memory = memoryOf({ from, to: new Uint8Array(d * wide).fill(99) });
    memory.kernels.transposeBytes(memory.at('from'), memory.at('to'), rows, wide, d);
    const wanted = new Uint8Array(d * wide);
    for (let b = 0; b < rows; b++) for (let i = 0; i < d; i++) wanted[i * wide + b] = from[b * d + i]!;
    assertSame(memory.now.to, wanted, `${rows} rows of ${d}`);
    memory.assertMargins();
  }
});
