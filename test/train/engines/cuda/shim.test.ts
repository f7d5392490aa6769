import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { DevicePointer } from '../../../../src/train/engines/cuda/device.js';
import { reductions } from '../../../../src/train/engines/cuda/kernels/numbers.js';
import { withoutCompiler } from './compiler.js';
import { CpuDevice, type CpuDeviceOptions } from './cpu-device.js';

const skip = withoutCompiler;

/** What a kernel with one argument, an array of this many ints, leaves there. */
async function ran(
  body: string,
  size: number,
  block: number,
  options: CpuDeviceOptions = {},
  grid = 1,
  before = reductions,
) {
  const device = await CpuDevice.open(options);
  const source = `${before}\nextern "C" __global__ void kernel(int *out) { ${body} }`;
  const kernels = await device.compile(source);
  const out = device.allocate(4 * size);
  kernels.launch('kernel', grid, block, new Uint8Array(BigUint64Array.of(out).buffer));
  return read(device, out, size);
}

async function read(device: CpuDevice, at: DevicePointer, size: number): Promise<Int32Array> {
  const host = device.allocateHost(4 * size);
  device.download(host, at, 4 * size);
  await device.mark().reached();
  const values = new Int32Array(host.bytes.slice(0));
  device.close();
  return values;
}

const ORDERS = ['forwards', 'backwards', 'shuffled'] as const;

test('threads meet at barriers, whatever their order', { skip }, async () => {
  const reversed =
    '__shared__ int s[64]; s[threadIdx.x] = threadIdx.x; __syncthreads(); out[threadIdx.x] = s[63 - threadIdx.x];';
  const wanted = Int32Array.from({ length: 64 }, (_, i) => 63 - i);
  for (const order of ORDERS) assert.deepEqual(await ran(reversed, 64, 64, { order }), wanted);
});

test('lanes of a warp exchange values as CUDA defines it', { skip }, async () => {
  const bodies: [string, (lane: number, warp: number) => number][] = [
    ['__shfl_xor_sync(EVERY_LANE, (int)threadIdx.x, 5)', (lane, warp) => 32 * warp + (lane ^ 5)],
    ['__shfl_up_sync(EVERY_LANE, (int)threadIdx.x, 3)', (lane, warp) => 32 * warp + (lane < 3 ? lane : lane - 3)],
    ['__shfl_sync(EVERY_LANE, (int)threadIdx.x, 7)', (_, warp) => 32 * warp + 7],
    ['(int)__ballot_sync(EVERY_LANE, threadIdx.x % 3 == 0)', (_, warp) => bits((i) => (32 * warp + i) % 3 === 0)],
  ];
  for (const [expression, wanted] of bodies) {
    for (const order of ORDERS) {
      const found = await ran(`out[threadIdx.x] = ${expression};`, 96, 96, { order });
      assert.deepEqual(
        found,
        Int32Array.from({ length: 96 }, (_, t) => wanted(t % 32, Math.floor(t / 32))),
        expression,
      );
    }
  }
});

const bits = (is: (lane: number) => boolean) =>
  Array.from({ length: 32 }, (_, i) => (is(i) ? 1 << i : 0)).reduce((a, b) => a | b, 0);

test('a race shows in the order of threads, and of blocks', { skip }, async () => {
  for (const [body, block, grid] of [
    ['out[0] = threadIdx.x;', 64, 1],
    ['out[0] = blockIdx.x;', 32, 5],
    // A barrier is missing.
    ['__shared__ int s[64]; s[threadIdx.x] = threadIdx.x; out[0] = threadIdx.x == 9 ? s[40] : out[0];', 64, 1],
  ] as const) {
    const [forwards, backwards] = [
      await ran(body, 1, block, {}, grid),
      await ran(body, 1, block, { order: 'backwards' }, grid),
    ];
    assert.notDeepEqual(forwards, backwards);
  }
});

test('a warp that is ahead of another shows where a barrier is missing between two sums', { skip }, async () => {
  const twice = 'out[threadIdx.x] = (int)(blockSum(1.0f) + 100.0f * blockSum(2.0f));';
  const wanted = new Int32Array(64).fill(64 + 100 * 128);
  for (const order of ORDERS) assert.deepEqual(await ran(twice, 64, 64, { order }), wanted);
  const careless = 'return sum;\n}\n\n__device__ double';
  assert.ok(reductions.includes(`  __syncthreads();\n  ${careless}`));
  const without = reductions.replace(`  __syncthreads();\n  ${careless}`, `  ${careless}`);
  assert.notDeepEqual(await ran(twice, 64, 64, {}, 1, without), wanted);
});

test('threads that can never meet are reported', { skip }, async () => {
  for (const body of [
    'if (threadIdx.x < 40) __syncthreads();',
    'if (threadIdx.x == 3) return; out[threadIdx.x] = __shfl_xor_sync(EVERY_LANE, 1, 1);',
    'if (threadIdx.x < 32) __syncthreads();\n else __syncthreads();',
    'if (threadIdx.x % 2) out[0] = __shfl_sync(EVERY_LANE, 1, 1);\n else out[1] = __shfl_sync(EVERY_LANE, 1, 1);',
  ]) {
    await assert.rejects(ran(body, 64, 64), /kernel: threads diverged: thread \d+ of block \(0, 0\) waits in line \d+/);
  }
  // A whole block may leave, and a warp may meet by itself.
  await ran(
    'if (blockIdx.x == 1) return; __syncthreads(); if (threadIdx.x < 32) __ballot_sync(EVERY_LANE, true);',
    1,
    64,
    {},
    2,
  );
});

test('touching memory that is not the kernel’s is reported', { skip }, async () => {
  const beyond = /kernel: thread 5 of block \(0, 0\) touched memory that is not its own/;
  await assert.rejects(ran('if (threadIdx.x == 5) out[2048] = 1;', 64, 32), beyond);
  await assert.rejects(ran('int *volatile p = out; if (threadIdx.x == 5) out[0] = p[64];', 64, 32), beyond);
  await assert.rejects(ran('out[-1] = 1;', 64, 32), /kernel wrote beyond an array of 256 bytes/);
  await assert.rejects(ran('out[1] = 1;', 1, 32), /kernel wrote beyond an array of 4 bytes/);
  // The runtime still works afterwards.
  assert.deepEqual(await ran('out[0] = 3;', 1, 32), Int32Array.of(3));
});

test('memory is initialised with NaN, that of a block too', { skip }, async () => {
  const body = '__shared__ float s[1]; out[blockIdx.x] = s[0] != s[0] && out[2] == -1; __syncthreads(); s[0] = 1.0f;';
  assert.deepEqual(await ran(body, 3, 32, {}, 2), Int32Array.of(1, 1, -1));
});

test('an argument must be of the declared size', { skip }, async () => {
  const source = `struct add_arguments { float *out; int a; long long b; float c; };
extern "C" __global__ void add(const add_arguments x) { *x.out = x.a + x.b + x.c; }`;
  const device = await CpuDevice.open();
  const kernels = await device.compile(source);
  const out = device.allocate(4);
  const argument = new DataView(new ArrayBuffer(32));
  argument.setBigUint64(0, out, true);
  argument.setInt32(8, -2, true);
  argument.setBigInt64(16, 2n ** 24n, true);
  argument.setFloat32(24, 1, true);
  kernels.launch('add', 1, 32, new Uint8Array(argument.buffer));
  assert.deepEqual(new Float32Array((await read(device, out, 1)).buffer), Float32Array.of(2 ** 24 - 1));
  const other = await CpuDevice.open();
  const again = await other.compile(source);
  again.launch('add', 1, 32, new Uint8Array(24));
  await assert.rejects(other.mark().reached(), /add: the argument is not of the size/);
  other.close();
});

test('nothing is done before it is waited for; late uploads come when they are waited for', { skip }, async () => {
  const device = await CpuDevice.open({ uploads: 'late' });
  const [at, host] = [device.allocate(4), device.allocateHost(4)];
  const words = new Int32Array(host.bytes);
  words[0] = 7;
  const uploaded = device.upload(at, host, 4);
  words[0] = 8;
  const before = device.allocateHost(4);
  device.download(before, at, 4);
  device.waitFor(uploaded);
  const after = device.allocateHost(4);
  device.download(after, at, 4);
  assert.equal(new Int32Array(after.bytes)[0], -1);
  await device.mark().reached();
  assert.deepEqual([new Int32Array(before.bytes)[0], new Int32Array(after.bytes)[0]], [-1, 8]);
  device.close();
});
