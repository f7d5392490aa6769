import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { Refusal } from '../../../../src/errors/refusal.js';
import type { CudaDevice, HostBuffer } from '../../../../src/train/engines/cuda/device.js';
import { openCudaDevice } from '../../../../src/train/engines/cuda/gpu.js';
import { refusalOf, refuses } from '../../../config/refuses.js';
import { buildStub, echoArgument, type Stub, saxpyArgument } from './stub.js';

const built = await buildStub();
const skip = typeof built === 'string' ? built : false;
const stub = built as Stub;
const KERNELS = '// saxpy and echo are C functions of the stub';
/** Nothing of what was opened is left, and no call came from another thread. */
let open: CudaDevice | undefined;

beforeEach(() => {
  if (!skip) stub.reset();
});
afterEach(() => {
  open?.close();
  open = undefined;
  if (skip) return;
  assert.equal(stub.live(), '');
  assert.deepEqual(
    stub.calls().filter((line) => line.includes('another thread')),
    [],
  );
});

async function opened(ordinal = 0) {
  const device = await openCudaDevice(ordinal);
  open = device;
  return device;
}

const floats = (buffer: HostBuffer) => new Float32Array(buffer.bytes);

/** A buffer of page-locked memory that holds the numbers. */
function holding(device: CudaDevice, values: readonly number[]): HostBuffer {
  const buffer = device.allocateHost(4 * values.length);
  floats(buffer).set(values);
  return buffer;
}

/** Numbers in the device's memory, after the requested work. */
async function fetched(device: CudaDevice, from: bigint, count: number): Promise<number[]> {
  const buffer = device.allocateHost(4 * count);
  device.download(buffer, from, 4 * count);
  await device.mark().reached();
  const values = [...floats(buffer)];
  buffer.free();
  return values;
}

test('a device reports its name, its versions and its memory', { skip }, async () => {
  stub.set({ total: 3000, devices: 2 });
  const device = await opened(1);
  assert.equal(device.name, 'Stub 41');
  const { libraries, ...versions } = device.versions;
  assert.deepEqual(versions, { driver: '12.9', compiler: '12.9', capability: '9.0' });
  assert.deepEqual(
    libraries,
    ['libcuda.so.1', 'libnvrtc.so.12', 'libcublas.so.12'].map((file) => `${stub.directory}/${file}`),
  );
  assert.deepEqual(device.memory(), { free: 3000, total: 3000 });
  const pointer = device.allocate(1000);
  assert.equal(typeof pointer, 'bigint');
  assert.deepEqual(device.memory(), { free: 2000, total: 3000 });
  device.free(pointer);
  assert.deepEqual(device.memory(), { free: 3000, total: 3000 });
  assert.ok(stub.calls().includes('cuDevicePrimaryCtxRetain 41'));
});

test('host memory is page-locked, visible from both sides, and copies carry it there and back', {
  skip,
}, async () => {
  const device = await opened();
  const from = holding(device, [1, 2, 3, 4]);
  assert.ok(from.bytes instanceof ArrayBuffer && from.bytes.byteLength === 16);
  const [a, b] = [device.allocate(16), device.allocate(16)];
  device.waitFor(device.upload(a, from, 16));
  device.clear(b, 16);
  // Pointers are numbers: a place within an allocation is its sum.
  device.copy(b + 4n, a, 8);
  assert.deepEqual(await fetched(device, b, 4), [0, 1, 2, 0]);
});

test('the argument of a kernel arrives bit by bit, with the shape of its launch', { skip }, async () => {
  const device = await opened();
  const kernels = await device.compile(KERNELS);
  const out = device.allocate(48);
  const long = -(2n ** 40n) - 7n;
  kernels.launch('echo', [70_000, 3], 96, echoArgument(out, -(2 ** 31), long, 0.1));
  const buffer = device.allocateHost(48);
  device.download(buffer, out, 48);
  await device.mark().reached();
  const view = new DataView(buffer.bytes);
  assert.equal(view.getInt32(0, true), -(2 ** 31));
  assert.equal(view.getBigInt64(4, true), long);
  assert.equal(view.getFloat32(12, true), Math.fround(0.1));
  assert.equal(view.getBigUint64(16, true), out);
  const shape = Array.from({ length: 6 }, (_, i) => view.getUint32(24 + 4 * i, true));
  assert.deepEqual(shape, [70_000, 3, 1, 96, 1, 1]);
});

test('each launch has its own argument, though one place in memory holds them all', { skip }, async () => {
  const device = await opened();
  const kernels = await device.compile(KERNELS);
  const x = device.allocate(12);
  const y = device.allocate(12);
  device.waitFor(device.upload(x, holding(device, [1, 2, 3]), 12));
  device.clear(y, 12);
  kernels.launch('saxpy', 1, 32, saxpyArgument(y, x, 3n, 10));
  kernels.launch('saxpy', 1, 32, saxpyArgument(y, x, 2n, 0.5));
  assert.deepEqual(await fetched(device, y, 3), [10.5, 21, 30]);
});

test('an argument of another size than the kernel takes is an error before the launch', { skip }, async () => {
  const device = await opened();
  const kernels = await device.compile(KERNELS);
  const argument = saxpyArgument(device.allocate(4), device.allocate(4), 1n, 1);
  for (const size of [24, 28]) {
    assert.throws(
      () => kernels.launch('saxpy', 1, 32, argument.subarray(0, size)),
      new RegExp(`saxpy takes 32 bytes of arguments, and was given ${size}`),
    );
  }
  assert.throws(() => kernels.launch('two', 1, 32, argument), /two takes more than one argument/);
  assert.throws(() => kernels.launch('absent', 1, 32, argument), /there is no kernel absent/);
  assert.deepEqual(
    stub.calls().filter((line) => line.startsWith('cuLaunchKernel')),
    [],
  );
});

for (const uploadsFirst of [false, true]) {
  const first = uploadsFirst ? 'uploads' : 'work';
  test(`uploads run concurrently with the work and in order with what waits for them, ${first} first`, {
    skip,
  }, async () => {
    stub.set({ uploadsFirst });
    const device = await opened();
    const kernels = await device.compile(KERNELS);
    const [x, y] = [device.allocate(4), device.allocate(4)];
    device.clear(x, 4);
    device.clear(y, 4);
    device.waitFor(device.upload(x, holding(device, [1]), 4, device.mark()));
    kernels.launch('saxpy', 1, 32, saxpyArgument(y, x, 1n, 1));
    // The second upload must not overtake the kernel that reads the first.
    const read = device.mark();
    const moment = device.upload(x, holding(device, [100]), 4, read);
    device.waitFor(moment);
    kernels.launch('saxpy', 1, 32, saxpyArgument(y, x, 1n, 1));
    assert.deepEqual(await fetched(device, y, 1), [101]);
  });
}

test('work waits only for what it was told to wait for', { skip }, async () => {
  const device = await opened();
  const x = device.allocate(4);
  device.clear(x, 4);
  const buffer = device.allocateHost(4);
  const upload = device.upload(x, holding(device, [7]), 4);
  device.download(buffer, x, 4);
  await device.mark().reached();
  assert.deepEqual([...floats(buffer)], [0], 'the stub prefers the work, and nothing else holds it up');
  await upload.reached();
  assert.deepEqual(await fetched(device, x, 1), [7]);
});

test('an event is reached once its work is done, while the event loop runs; events are reused', {
  skip,
}, async () => {
  const device = await opened();
  const x = device.allocate(4);
  for (let step = 0; step < 50; step++) {
    for (let i = 0; i < 20; i++) device.clear(x, 4);
    const moment = device.mark();
    let turns = 0;
    let counting = true;
    const count = () => {
      turns++;
      if (counting) setImmediate(count);
    };
    setImmediate(count);
    await moment.reached();
    counting = false;
    // How many at most depends on what else the machine does.
    assert.ok(turns > 5, `${turns} turns of the event loop`);
    // Once reached, an event stays so, and waiting for it does no more work.
    await moment.reached();
    device.waitFor(moment);
  }
  const made = stub.calls().filter((line) => line.startsWith('cuEventCreate'));
  assert.deepEqual(made, ['cuEventCreate E0 flags 2']);
  assert.deepEqual(
    stub.calls().filter((line) => line.startsWith('cuStreamWaitEvent')),
    [],
  );
});

test('an event that is still pending is not reused', { skip }, async () => {
  const device = await opened();
  const x = device.allocate(4);
  const moments = Array.from({ length: 5 }, () => {
    for (let i = 0; i < 20; i++) device.clear(x, 4);
    return device.mark();
  });
  assert.equal(stub.calls().filter((line) => line.startsWith('cuEventCreate')).length, 5);
  await moments[4]!.reached();
  for (const moment of moments) await moment.reached();
});

test('streams do not wait for the stream 0 of others, and another library’s context does no harm', {
  skip,
}, async () => {
  const device = await opened();
  assert.deepEqual(
    stub.calls().filter((line) => line.startsWith('cuStreamCreate')),
    ['cuStreamCreate S0 flags 1', 'cuStreamCreate S1 flags 1'],
  );
  const x = device.allocate(16);
  stub.stealContext();
  device.clear(x, 16);
  stub.stealContext();
  device.multiply({ m: 1, n: 1, k: 1, a: x, b: x, c: x + 4n, transposedB: false, strideC: 1, precision: 'float32' });
  assert.deepEqual(await fetched(device, x, 2), [0, 0]);
});

test('copies larger than the buffer, unknown pointers and buffers freed twice are errors', { skip }, async () => {
  const device = await opened();
  const pointer = device.allocate(64);
  const buffer = device.allocateHost(16);
  assert.throws(() => device.upload(pointer, buffer, 17), /17 bytes does not fit a buffer of 16/);
  assert.throws(() => device.download(buffer, pointer, 17), RangeError);
  assert.throws(() => device.upload(pointer, { bytes: new ArrayBuffer(16), free: () => {} }, 16), /another device/);
  assert.throws(() => device.waitFor({ reached: async () => {} }), /another device/);
  assert.throws(() => device.free(pointer + 4n), RangeError);
  assert.throws(() => device.allocate(0), RangeError);
  assert.throws(() => device.allocate(1.5), RangeError);
  buffer.free();
  assert.throws(() => buffer.free(), RangeError);
});

test('closing gives back everything that is held, once, after the work is done', { skip }, async () => {
  const device = await opened();
  const kernels = await device.compile(KERNELS);
  await device.compile(`${KERNELS} again`);
  const gone = await device.compile(`${KERNELS} and again`);
  gone.unload();
  const x = device.allocate(400);
  const buffer = device.allocateHost(400);
  device.upload(x, buffer, 400);
  device.download(buffer, x, 400);
  kernels.launch('saxpy', 1, 32, saxpyArgument(x, x, 100n, 0));
  const moment = device.mark();
  assert.match(stub.live(), /device 1 host 1 streams 2 events 2 modules 2 contexts 1 cublas 1/);
  device.close();
  assert.equal(stub.live(), '');
  device.close();
  assert.throws(() => device.allocate(4), /closed/);
  assert.throws(() => device.mark(), /closed/);
  await assert.rejects(moment.reached(), /closed/);
  await assert.rejects(device.compile(KERNELS), /closed/);
});

test('a GPU that does not exist is refused with those that do', { skip }, async () => {
  await refuses(() => opened(1), 'cuda/no-gpu', 'There is no GPU 1: the driver counts 1, from 0.');
  stub.set({ devices: 0 });
  const refusal = await refusalOf(() => opened(), Refusal, 'cuda/no-gpu');
  assert.match(refusal.message, /^The driver finds no GPU \(CUDA_ERROR_100: words of 100\)\.$/);
  assert.match(refusal.remedy!, /CUDA_VISIBLE_DEVICES/);
});

test('a GPU older than the compiler, and a driver older than the libraries, are refused before anything is held', {
  skip,
}, async () => {
  stub.set({ capability: 61 });
  await refuses(
    () => opened(),
    'cuda/gpu-too-old',
    'This GPU (compute capability 6.1) is too old for NVRTC 12.9, which supports 7.5',
  );
  stub.set({ version: 11_080 });
  await refuses(() => opened(), 'cuda/no-library', 'libnvrtc.so.12 is newer than the driver, which supports CUDA 11');
});
