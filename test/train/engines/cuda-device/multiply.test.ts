import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { Generator } from '../../../../src/random/generator.js';
import { fromBfloat16, toBfloat16 } from '../../../../src/safetensors/floats.js';
import type { CudaDevice, ProductPrecision } from '../../../../src/train/engines/cuda/device.js';
import { openCudaDevice } from '../../../../src/train/engines/cuda/gpu.js';
import { buildStub, type Stub } from './stub.js';

const built = await buildStub();
const skip = typeof built === 'string' ? built : false;
const stub = built as Stub;
let device: CudaDevice;

beforeEach(async () => {
  if (skip) return;
  stub.reset();
  device = await openCudaDevice(0);
});
afterEach(() => {
  if (skip) return;
  device.close();
  assert.equal(stub.live(), '');
});

/** Memory of the device with these bytes. */
function uploaded(values: Float32Array | Uint16Array): bigint {
  const buffer = device.allocateHost(values.byteLength);
  new Uint8Array(buffer.bytes).set(new Uint8Array(values.buffer));
  const pointer = device.allocate(values.byteLength);
  device.waitFor(device.upload(pointer, buffer, values.byteLength));
  return pointer;
}

/** The numbers as the precision sees them. */
function rounded(values: Float32Array, precision: ProductPrecision): Float32Array {
  if (precision === 'float32') return values;
  const seen = new Float32Array(values.length);
  if (precision === 'bfloat16') {
    fromBfloat16(toBfloat16(values), seen);
    return seen;
  }
  const bits = new Uint32Array(values.buffer).map((b) => (b + 0x1000) & ~0x1fff);
  return new Float32Array(bits.buffer);
}

/** The product by its definition, row-major; what lies between rows of C is NaN. */
function plain(m: number, n: number, k: number, a: Float32Array, b: Float32Array, transposed: boolean, stride: number) {
  const c = new Float32Array(m * stride).fill(Number.NaN);
  for (let i = 0; i < m; i++) {
    for (let j = 0; j < n; j++) {
      let sum = 0;
      for (let l = 0; l < k; l++) sum += a[i * k + l]! * (transposed ? b[j * k + l]! : b[l * n + j]!);
      c[i * stride + j] = sum;
    }
  }
  return c;
}

const random = new Generator(5);
const numbers = (count: number) => Float32Array.from({ length: count }, () => random.normal());

for (const precision of ['float32', 'tf32', 'bfloat16'] as const) {
  for (const transposedB of [false, true]) {
    test(`row-major products in ${precision}, B ${transposedB ? 'transposed' : 'as it is'}`, { skip }, async () => {
      for (const [m, n, k, strideC] of [
        [5, 7, 3, 7],
        [4, 6, 9, 11],
        [1, 8, 2, 8],
        [6, 1, 4, 3],
      ] as const) {
        const [a, b] = [numbers(m * k), numbers(n * k)];
        const stored = (values: Float32Array) => (precision === 'bfloat16' ? toBfloat16(values) : values);
        const c = uploaded(new Float32Array(m * strideC).fill(Number.NaN));
        const product = { m, n, k, a: uploaded(stored(a)), b: uploaded(stored(b)), c, transposedB, strideC, precision };
        device.multiply(product);
        const buffer = device.allocateHost(4 * m * strideC);
        device.download(buffer, c, 4 * m * strideC);
        await device.mark().reached();
        const got = new Float32Array(buffer.bytes);
        const wanted = plain(m, n, k, rounded(a, precision), rounded(b, precision), transposedB, strideC);
        got.forEach((value, i) => {
          const bound = 1e-6 * (1 + Math.abs(wanted[i]!));
          const same = Number.isNaN(wanted[i]) ? Number.isNaN(value) : Math.abs(value - wanted[i]!) < bound;
          assert.ok(same, `${m} × ${n} × ${k}: ${value} at ${i}, not ${wanted[i]}`);
        });
      }
    });
  }
}

test('A transposed, strided rows in A and B, and a product added to existing values', { skip }, async () => {
  const [m, n, k, strideA, strideB, strideC] = [5, 7, 3, 6, 9, 8];
  const spread = (values: Float32Array, width: number, stride: number) => {
    const out = new Float32Array((values.length / width) * stride).fill(Number.NaN);
    for (let row = 0; row * width < values.length; row++) {
      out.set(values.subarray(row * width, (row + 1) * width), row * stride);
    }
    return out;
  };
  const [a, b, before] = [numbers(m * k), numbers(k * n), numbers(m * strideC)];
  const lying = Float32Array.from({ length: k * m }, (_, i) => a[(i % m) * k + Math.floor(i / m)]!);
  const c = uploaded(before.slice());
  const operands = { a: uploaded(spread(lying, m, strideA)), b: uploaded(spread(b, n, strideB)), strideA, strideB };
  const product = { ...operands, m, n, k, c, transposedA: true, transposedB: false, strideC } as const;
  device.multiply({ ...product, accumulate: true, precision: 'float32' });
  const buffer = device.allocateHost(4 * m * strideC);
  device.download(buffer, c, 4 * m * strideC);
  await device.mark().reached();
  const wanted = plain(m, n, k, a, b, false, strideC);
  for (const [i, value] of new Float32Array(buffer.bytes).entries()) {
    const sum = before[i]! + (Number.isNaN(wanted[i]) ? 0 : wanted[i]!);
    assert.ok(Math.abs(value - sum) < 1e-5, `${value} at ${i}, not ${sum}`);
  }
  assert.throws(() => device.multiply({ ...product, strideA: m - 1, precision: 'tf32' }), RangeError);
  assert.throws(() => device.multiply({ ...product, strideB: n - 1, precision: 'tf32' }), RangeError);
});

test('types and sums: float32 in and out, TF32 only on request, sums never in less than float32', {
  skip,
}, async () => {
  const x = device.allocate(64);
  const product = { m: 2, n: 2, k: 2, a: x, b: x, c: x + 32n, transposedB: false, strideC: 2 };
  for (const precision of ['float32', 'tf32', 'bfloat16'] as const) device.multiply({ ...product, precision });
  assert.deepEqual(
    stub.calls().filter((line) => line.startsWith('cublas')),
    [
      'cublasSetMathMode 16',
      'cublasGemmEx 2 2 2 -1 compute 68 types 0 0 0',
      'cublasGemmEx 2 2 2 -1 compute 77 types 0 0 0',
      'cublasGemmEx 2 2 2 -1 compute 68 types 14 14 0',
    ],
  );
});

test('products run in the order of the work', { skip }, async () => {
  const two = uploaded(Float32Array.of(2));
  const c = device.allocate(4);
  const product = { m: 1, n: 1, k: 1, transposedB: false, strideC: 1, precision: 'float32' } as const;
  device.multiply({ ...product, a: two, b: two, c });
  device.copy(two, c, 4);
  device.multiply({ ...product, a: two, b: two, c });
  const buffer = device.allocateHost(4);
  device.download(buffer, c, 4);
  await device.mark().reached();
  assert.equal(new Float32Array(buffer.bytes)[0], 16);
});

test('sizes that cuBLAS does not accept are errors', { skip }, () => {
  const x = device.allocate(64);
  const product = { m: 2, n: 3, k: 2, a: x, b: x, c: x, transposedB: false, strideC: 3, precision: 'float32' } as const;
  assert.throws(() => device.multiply({ ...product, strideC: 2 }), /rows of 3 do not fit a stride of 2/);
  for (const wrong of [{ m: 0 }, { k: 1.5 }, { n: 2 ** 31, strideC: 2 ** 31 }]) {
    assert.throws(() => device.multiply({ ...product, ...wrong }), RangeError);
  }
});
