import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generator } from '../../../../src/random/generator.js';
import { fromBfloat16 } from '../../../../src/safetensors/floats.js';
import { STORED } from '../../../../src/train/engines/sparse/kernels.js';
import { padded } from '../../../../src/train/engines/sparse/memory.js';
import { assertSame, assertZeroPadding } from './compare.js';
import { fromFloat16 } from './float16.js';
import { type Memory, memoryOf, normalRows, normals, padRows, unset } from './memory.js';

interface Arrays extends Record<string, Uint16Array | Float32Array> {
  source: Uint16Array | Float32Array;
  bias: Float32Array;
  xc: Float32Array;
}

function sideOf(memory: Memory<Arrays>, scale: number, width: number, bits = STORED.float16): number {
  const { at, now } = memory;
  const type = now.source instanceof Uint16Array ? bits : STORED.float32;
  const arrays = { source: at('source'), taken: at('bias'), centred: at('xc') };
  return memory.block('Side', { ...arrays, type, width, d: padded(width), scale });
}

const WIDENED = {
  float16: (bits: Uint16Array) => Float32Array.from(bits, fromFloat16),
  bfloat16: (bits: Uint16Array) => {
    const wide = new Float32Array(bits.length);
    fromBfloat16(bits, wide);
    return wide;
  },
};

test('all 65536 numbers of float16 and bfloat16 are widened exactly, in lanes and one by one', () => {
  const source = Uint16Array.from({ length: 65536 }, (_, bits) => bits);
  // Rows of 16 lie in lanes of four; rows of one are all tail.
  for (const [dIn, type] of [16, 1].flatMap((d) => [[d, 'float16'] as const, [d, 'bfloat16'] as const])) {
    const exact = WIDENED[type](source);
    const rows = 65536 / dIn;
    const d = padded(dIn);
    const memory = memoryOf({ source, bias: new Float32Array(d), xc: unset(rows * d) });
    memory.kernels.centre(sideOf(memory, 1, dIn, STORED[type]), rows);
    const wanted = padRows(exact, rows, dIn);
    assertSame(memory.now.xc, wanted, 'xc');
    // −0 is distinguished from 0 by its bits; NaN may have any.
    const [bits, wantedBits] = [memory.now.xc, wanted].map((x) => new Uint32Array(x.buffer, x.byteOffset, x.length));
    const differing = wanted.findIndex((x, i) => !Number.isNaN(x) && bits![i] !== wantedBits![i]);
    assert.equal(differing, -1, `bits of number ${differing}`);
    memory.assertMargins();
  }
});

test('x · scale − b_dec is rounded twice, and the padding is written', () => {
  const random = new Generator(1);
  for (const [rows, dIn] of [
    [5, 16],
    [1, 1],
    [3, 7],
    [4, 18],
    [2, 35],
    [1, 64],
  ] as const) {
    for (const half of [false, true]) {
      const d = padded(dIn);
      const values = normals(random, rows * dIn, 3);
      const bits = Uint16Array.from(values, () => random.below(0x7c00) | (random.below(2) << 15));
      const source = half ? bits : values;
      const x = half ? Float32Array.from(bits, fromFloat16) : values;
      const bias = normalRows(random, 1, dIn);
      const scale = Math.fround(0.37);
      const memory = memoryOf({ source, bias, xc: unset(rows * d) });
      memory.kernels.centre(sideOf(memory, scale, dIn), rows);
      const wanted = x.map((value, i) => Math.fround(value * scale) - bias[i % dIn]!);
      assertSame(memory.now.xc, padRows(wanted, rows, dIn), `${rows} rows of ${dIn}`);
      memory.assertMargins();
    }
  }
});

test('NaN and infinities go through', () => {
  const source = Float32Array.of(Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, 1, Number.NaN);
  const memory = memoryOf({ source, bias: new Float32Array(16).fill(2), xc: unset(16) });
  memory.kernels.centre(sideOf(memory, 0.5, 5), 1);
  const wanted = [Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY, -1.5, Number.NaN];
  assertSame(memory.now.xc, padRows(wanted, 1, 5), 'xc');
});

test('columnVariance sums squares of deviations from the columns’ means, over its columns only', () => {
  const random = new Generator(2);
  for (const [rows, dIn] of [
    [1, 16],
    [2, 5],
    [37, 35],
    [200, 20],
  ] as const) {
    const d = padded(dIn);
    const x = normalRows(random, rows, dIn).map((value, i) => (i % d < dIn ? value + (i % d) : 0));
    const memory = memoryOf({ x });
    const ranges = [
      [0, d],
      [4, 12],
      [d - 4, d],
      [8, 8],
    ] as const;
    for (const [first, last] of ranges) {
      let wanted = 0;
      for (let i = first; i < last; i++) {
        const column = Array.from({ length: rows }, (_, row) => x[row * d + i]!);
        const mean = column.reduce((a, b) => a + b, 0) / rows;
        wanted += column.reduce((sum, value) => sum + (value - mean) ** 2, 0);
      }
      const got = memory.kernels.columnVariance(memory.at('x'), rows, d, first, last);
      assert.ok(
        Math.abs(got - wanted) <= 1e-5 * wanted,
        `${rows} rows, columns ${first} to ${last}: ${got}, ${wanted}`,
      );
    }
    assertZeroPadding(memory.now.x, dIn, d, 'x');
  }
});
