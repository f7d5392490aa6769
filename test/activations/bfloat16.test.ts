import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generator } from '../../src/random/generator.js';
import { fromBfloat16, toBfloat16 } from '../../src/safetensors/floats.js';

function floatsOf(bits: readonly number[]): Float32Array {
  return new Float32Array(Uint32Array.from(bits).buffer);
}

/** Value of bfloat16 bits by the definition of the format; those after the largest finite one count on to 2¹²⁸. */
function valueOfBits(bits: number): number {
  const exponent = (bits >> 7) & 0xff;
  const fraction = bits & 0x7f;
  return exponent === 0 ? fraction * 2 ** -133 : (1 + fraction / 128) * 2 ** (exponent - 127);
}

/** The nearest bfloat16 by trying both neighbours; all of it is exact in float64. */
function nearestTwin(value: number): number {
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const size = Math.abs(value);
  if (size === Number.POSITIVE_INFINITY) return sign | 0x7f80;
  let [low, high] = [0, 0x7f80];
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (valueOfBits(middle) <= size) low = middle;
    else high = middle;
  }
  const [below, above] = [size - valueOfBits(low), valueOfBits(high) - size];
  return sign | (below < above || (below === above && low % 2 === 0) ? low : high);
}

test('bfloat16 bits of known values', () => {
  const known: [number, number][] = [
    [0, 0x0000],
    [-0, 0x8000],
    [1, 0x3f80],
    [-2, 0xc000],
    [Math.fround(Math.PI), 0x4049],
    [1 + 2 ** -8, 0x3f80],
    [1 + 3 * 2 ** -8, 0x3f82],
    [1 + 2 ** -8 + 2 ** -23, 0x3f81],
    [-1 - 2 ** -8, 0xbf80],
    [-1 - 3 * 2 ** -8, 0xbf82],
    [3.4028234663852886e38, 0x7f80],
    [-3.4028234663852886e38, 0xff80],
    [Number.POSITIVE_INFINITY, 0x7f80],
    [Number.NEGATIVE_INFINITY, 0xff80],
    [2 ** -133, 0x0001],
    [2 ** -134, 0x0000],
    [3 * 2 ** -134, 0x0002],
    [2 ** -149, 0x0000],
  ];
  const bits = toBfloat16(Float32Array.from(known, ([value]) => value));
  for (const [i, [value, expected]] of known.entries()) assert.equal(bits[i], expected, `${value}`);
});

test('any float is rounded to the nearest bfloat16, ties to even', () => {
  const random = new Generator(1);
  const patterns = Array.from({ length: 20_000 }, (_, i) => {
    const upper = random.below(2 ** 16) * 2 ** 16;
    // Ties and their neighbours as often as other values.
    return upper + [random.below(2 ** 16), 0x8000, 0x7fff, 0x8001][i % 4]!;
  });
  const values = floatsOf(patterns).filter((value) => !Number.isNaN(value));
  assert.ok(values.length > 19_000);
  const bits = toBfloat16(values);
  for (const [i, value] of values.entries()) assert.equal(bits[i], nearestTwin(value), `${value}`);
});

test('NaN stays NaN, also where all its set bits are cut off', () => {
  const patterns = [0x7fc00000, 0xffc00000, 0x7f800001, 0xff800001, 0x7fffffff, 0xffffffff, 0x7f80ffff];
  for (const bits of toBfloat16(floatsOf(patterns))) {
    assert.equal(bits & 0x7f80, 0x7f80);
    assert.notEqual(bits & 0x007f, 0);
  }
});

test('a view is rounded alone', () => {
  const values = Float32Array.of(9, 1, -2, 9).subarray(1, 3);
  assert.deepEqual([...toBfloat16(values)], [0x3f80, 0xc000]);
});

test('widening gives the value of the bits', () => {
  const bits = Uint16Array.from({ length: 2 ** 16 }, (_, i) => i);
  const wide = new Float32Array(2 ** 16);
  fromBfloat16(bits, wide);
  for (const [i, value] of wide.entries()) {
    const sign = i & 0x8000 ? -1 : 1;
    const size = i & 0x7fff;
    const expected = size > 0x7f80 ? Number.NaN : size === 0x7f80 ? Number.POSITIVE_INFINITY : valueOfBits(size);
    assert.ok(Object.is(value, sign * expected), `0x${i.toString(16)}`);
  }
});

test('widening writes into a view and no further', () => {
  const target = Float32Array.of(7, 7, 7, 7);
  fromBfloat16(Uint16Array.of(0x3f80, 0x4000), target.subarray(1));
  assert.deepEqual([...target], [7, 1, 2, 7]);
});

test('rounding undoes widening', () => {
  const bits = Uint16Array.from({ length: 2 ** 16 }, (_, i) => i).filter((pattern) => (pattern & 0x7fff) <= 0x7f80);
  const wide = new Float32Array(bits.length);
  fromBfloat16(bits, wide);
  assert.deepEqual(toBfloat16(wide), bits);
});
