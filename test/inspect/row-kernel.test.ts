import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { ActivationDType } from '../../src/activations/manifest.js';
import type { ActivationArray } from '../../src/activations/rows.js';
import { RowKernel } from '../../src/inspect/row-kernel.js';
import { RowSums } from '../../src/inspect/row-sums.js';
import { toBfloat16, widen } from '../../src/safetensors/floats.js';

/** Rows of uneven scale, one of zeros and one whose entries are all alike. */
function rowsOf(rows: number, d: number): Float32Array {
  const x = Float32Array.from({ length: rows * d }, (_, i) => Math.sin(i * i) * (1 + (i % 7)) + (i % d === 2 ? 40 : 0));
  x.fill(0, d, 2 * d);
  x.fill(1.5, 2 * d, 3 * d);
  return x;
}

function storedRows(rows: number, d: number, dtype: ActivationDType): ActivationArray {
  const x = rowsOf(rows, d);
  if (dtype === 'float32') return x;
  if (dtype === 'bfloat16') return toBfloat16(x);
  // Any finite numbers: the lowest bit of the exponent is 0.
  return Uint16Array.from(x, (_, i) => (Math.imul(i, 40_503) >>> 3) & 0xfbff);
}

/** The largest difference of two arrays, over the largest entry. */
function off(a: Float64Array, b: Float64Array): number {
  assert.equal(a.length, b.length);
  const largest = a.reduce((most, value) => Math.max(most, Math.abs(value)), 1e-300);
  return a.reduce((most, value, i) => Math.max(most, Math.abs(value - b[i]!)), 0) / largest;
}

// Odd dimensions and rows are padded, and 30,001 rows of 9 dimensions take several blocks.
const SHAPES = [
  [5, 8],
  [30_001, 9],
  [4, 1],
  [3, 20_000],
] as const;
for (const [rows, d] of SHAPES) {
  for (const dtype of ['float32', 'float16', 'bfloat16'] as const satisfies readonly ActivationDType[]) {
    test(`the kernel sums ${rows} rows of ${d} ${dtype} numbers as RowSums does`, async () => {
      const stored = storedRows(rows, d, dtype);
      const centre = Float64Array.from({ length: d }, (_, i) => i / 10);
      const slow = new RowSums(centre);
      const expected = slow.add(widen(stored, dtype));
      const kernel = await RowKernel.open(centre, dtype);
      kernel.add(stored.subarray(0, d)); // leaves nothing to the next
      const { totals, norms, spreads } = kernel.add(stored);
      assert.ok(off(expected.norms, norms) < 1e-12);
      assert.ok(off(expected.spreads, spreads) < 1e-12);
      for (const name of ['sum', 'squares', 'normalisedSum', 'normalisedSquares'] as const) {
        assert.ok(off(slow.totals[name], totals[name]) < 1e-12, name);
      }
    });
  }
}
