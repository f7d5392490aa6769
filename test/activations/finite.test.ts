import assert from 'node:assert/strict';
import { test } from 'node:test';
import { notFiniteRow } from '../../src/activations/rows.js';
import { firstNotFinite } from '../../src/safetensors/floats.js';
import { numberedRows } from './synthetic.js';

test('the first entry that is NaN or infinite is found in every element type, by all patterns of 16 bits', () => {
  for (const [dtype, infinity] of [
    ['float16', 0x7c00],
    ['bfloat16', 0x7f80],
  ] as const) {
    for (let bits = 0; bits < 2 ** 16; bits++) {
      const wild = (bits & 0x7fff) >= infinity;
      assert.equal(firstNotFinite(Uint16Array.of(1, bits, 2), dtype), wild ? 1 : -1, `${dtype} ${bits.toString(16)}`);
    }
  }
  for (const [value, at] of [
    [Number.NaN, 2],
    [Number.NEGATIVE_INFINITY, 2],
    [3.4028234e38, -1],
    [-1e-45, -1],
  ] as const) {
    const values = Float32Array.of(9, 0, -0, value, Number.NaN).subarray(1, 4);
    assert.equal(firstNotFinite(values, 'float32'), at, String(value));
  }
});

test('it is found at any position, in any memory', () => {
  // Blocks of the search have 8192 entries of 16 bits.
  for (const length of [0, 1, 2, 3, 8, 8191, 8192, 8193, 16_387]) {
    for (const offset of [0, 1, 2, 3]) {
      const memory = new Uint16Array(offset + length + 3).fill(0x7c00);
      const values = memory.subarray(offset, offset + length).fill(0x7bff);
      assert.equal(firstNotFinite(values, 'float16'), -1);
      for (const at of new Set([0, 1, length >> 1, length - 2, length - 1].filter((i) => i >= 0 && i < length))) {
        values[at] = 0xfe00;
        assert.equal(firstNotFinite(values, 'float16'), at, `${at} of ${length} from ${offset}`);
        values[at] = 0xfbff;
      }
    }
  }
});

test('a row is named by its number, its context and its position', () => {
  const rows = numberedRows(10, 3, 'float16');
  assert.equal(notFiniteRow(rows, 'float16'), undefined);
  rows.activation[6 * 3 + 2] = 0xfc00;
  assert.equal(notFiniteRow(rows, 'float16', 100), 'row 106 (context 1, position 3) holds -Infinity');
});
