import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ActivationSums } from '../../src/activations/statistics.js';
import { SumsKernel } from '../../src/activations/sums-kernel.js';
import { toBfloat16 } from '../../src/safetensors/floats.js';
import { randomInputs } from '../sae/random-sae.js';

/** Numbers of many sizes, of which 16-bit types have subnormals, zeros of both signs and infinities too. */
function valuesOf(count: number, dtype: 'float32' | 'float16' | 'bfloat16', seed: number): Float32Array | Uint16Array {
  const x = randomInputs(count, seed).map((value, k) => value * 10 ** ((k % 7) - 3));
  if (dtype === 'float32') return x;
  return dtype === 'bfloat16' ? toBfloat16(x) : Uint16Array.from(x, (value, k) => ((value * 1e6) ^ (k << 9)) & 0xfbff);
}

for (const dtype of ['float32', 'float16', 'bfloat16'] as const) {
  test(`${dtype}: sums and norms are to the bit those of the loop in JavaScript`, async () => {
    for (const [rows, d] of [
      [300, 7],
      [45, 64],
      [6, 1],
      [0, 3],
      // More than a block of the kernel's memory.
      [67, 2050],
    ] as const) {
      const kernel = await SumsKernel.open(d, dtype);
      const [loop, found] = [new ActivationSums(d), new ActivationSums(d)];
      // Twice: sums are added to what is there.
      for (const seed of [3, 4]) {
        const values = valuesOf(rows * d, dtype, seed);
        loop.add(values, dtype);
        const blocks: Buffer[] = [];
        kernel.add(values, found, (block) => blocks.push(Buffer.from(block)));
        const bytes = Buffer.from(values.buffer, values.byteOffset, values.byteLength);
        assert.ok(Buffer.concat(blocks).equals(bytes), 'the blocks are the values');
      }
      assert.deepEqual(found.plain(), loop.plain());
    }
  });

  test(`${dtype}: infinities and NaN come out as the loop gives them`, async () => {
    const special =
      dtype === 'float32'
        ? Float32Array.of(Number.POSITIVE_INFINITY, Number.NaN, 1e-45, -0)
        : Uint16Array.of(...(dtype === 'float16' ? [0x7c00, 0x7e01, 1, 0x8000] : [0x7f80, 0x7fc1, 1, 0x8000]));
    const [loop, found] = [new ActivationSums(4), new ActivationSums(4)];
    loop.add(special, dtype);
    (await SumsKernel.open(4, dtype)).add(special, found);
    // As lists: arrays are compared by their bits, of which NaN has many.
    assert.deepEqual([...found.sum], [...loop.sum]);
    assert.deepEqual([...found.squares], [...loop.squares]);
  });
}
