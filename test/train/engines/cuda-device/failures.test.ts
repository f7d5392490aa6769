import assert from 'node:assert/strict';
import { afterEach, beforeEach, test } from 'node:test';
import { Refusal } from '../../../../src/errors/refusal.js';
import { openCudaDevice } from '../../../../src/train/engines/cuda/gpu.js';
import { refusalOf, refuses } from '../../../config/refuses.js';
import { buildStub, echoArgument, type Stub } from './stub.js';

const built = await buildStub();
const skip = typeof built === 'string' ? built : false;
const stub = built as Stub;

const KERNELS = '// saxpy and echo are C functions of the stub';
const LAUNCH_FAILED = 719;

beforeEach(() => {
  if (!skip) stub.reset();
});
afterEach(() => {
  if (!skip) stub.reset();
});

/** One use of every call of a device, each in a separate step; ends with the device closed. */
async function everything(): Promise<void> {
  const device = await openCudaDevice(0);
  try {
    device.memory();
    const [x, gone] = [device.allocate(16), device.allocate(16)];
    device.free(gone);
    const [buffer, lost] = [device.allocateHost(16), device.allocateHost(16)];
    lost.free();
    device.clear(x, 16);
    const marked = device.mark();
    device.waitFor(device.upload(x, buffer, 16, marked));
    device.copy(x, x, 16);
    const [kernels, others] = [await device.compile(KERNELS), await device.compile(`${KERNELS}.`)];
    others.unload();
    kernels.launch('echo', 1, 1, echoArgument(device.allocate(48)));
    device.multiply({ m: 1, n: 1, k: 1, a: x, b: x, c: x, transposedB: false, strideC: 1, precision: 'tf32' });
    device.download(buffer, x, 16);
    await device.mark().reached();
  } catch (error) {
    device.close();
    throw error;
  }
  device.close();
}

/** Every function with a status to check; those that only report a failure are checked by all. */
const FUNCTIONS = [
  ...['cuInit', 'cuDeviceGetCount', 'cuDriverGetVersion', 'cuDeviceGet', 'cuDeviceGetName', 'cuDeviceGetAttribute'],
  ...['cuDevicePrimaryCtxRetain', 'cuCtxSetCurrent', 'cuStreamCreate', 'cublasCreate_v2', 'cublasSetStream_v2'],
  ...['cublasSetMathMode', 'cuMemGetInfo_v2', 'cuMemAlloc_v2', 'cuMemFree_v2', 'cuMemHostAlloc', 'cuMemFreeHost'],
  ...['cuMemsetD8Async', 'cuEventCreate', 'cuEventRecord', 'cuStreamWaitEvent', 'cuMemcpyHtoDAsync_v2'],
  ...['cuMemcpyDtoDAsync_v2', 'cuModuleLoadData', 'cuModuleGetFunction', 'cuFuncGetParamInfo'],
  ...['cuLaunchKernel', 'cublasGemmEx', 'cuMemcpyDtoHAsync_v2', 'cuEventQuery', 'cuModuleUnload'],
  ...['cuStreamSynchronize', 'cublasDestroy_v2', 'cuEventDestroy_v2', 'cuStreamDestroy_v2'],
  'cuDevicePrimaryCtxRelease_v2',
];

test('the sequence of all calls succeeds if nothing fails, and leaves nothing', { skip }, async () => {
  await everything();
  assert.equal(stub.live(), '');
});

for (const name of FUNCTIONS) {
  test(`${name}: a failure is a refusal that names it, and nothing keeps running`, { skip }, async () => {
    const blas = name.startsWith('cublas');
    stub.fail(name, blas ? 14 : LAUNCH_FAILED);
    const refusal = await refusalOf(everything, Refusal, blas ? 'cuda/cublas-failed' : 'cuda/gpu-failed');
    const named = name === 'cuLaunchKernel' ? 'kernel echo of 1 × 1 blocks of 1 threads' : name;
    assert.ok(refusal.message.includes(named), refusal.message);
    if (!blas) {
      assert.match(refusal.message, /^The GPU failed at .+ or in work before it \(CUDA_ERROR_719: words of 719\)\.$/);
      assert.match(refusal.remedy!, /--resume/);
    }
  });
}

test('a device that cannot be opened to the end gives back what it had', { skip }, async () => {
  for (const name of ['cuStreamCreate', 'cublasCreate_v2', 'cublasSetStream_v2', 'cublasSetMathMode']) {
    stub.reset();
    stub.fail(name, 1, name === 'cuStreamCreate' ? 1 : 0);
    await assert.rejects(openCudaDevice(0), Refusal);
    assert.equal(stub.live(), '', name);
  }
});

test('too little memory is reported in bytes: requested, free, total', { skip }, async () => {
  stub.set({ total: 3 * 2 ** 20 });
  const device = await openCudaDevice(0);
  device.allocate(2 ** 20);
  const refusal = await refusalOf(() => device.allocate(2.5 * 2 ** 20), Refusal, 'cuda/out-of-memory');
  assert.equal(
    refusal.message,
    'The memory of Stub 40 is too small: 2.5 MiB more are needed, but only 2.0 MiB of 3.0 MiB are free.',
  );
  assert.match(refusal.remedy!, /--batch or --d-sae/);
  // Nothing is broken: less memory is still available.
  device.allocate(2 ** 20);
  stub.fail('cuMemHostAlloc', 2);
  await refuses(
    () => device.allocateHost(2 ** 20),
    'cuda/no-locked-memory',
    'The system cannot provide 1.0 MiB of page-locked memory',
  );
  stub.fail('cublasGemmEx', 3);
  const product = { m: 1, n: 1, k: 1, a: 0n, b: 0n, c: 0n, transposedB: false, strideC: 1, precision: 'tf32' } as const;
  await refuses(
    () => device.multiply(product),
    'cuda/out-of-memory',
    'cuBLAS found too little memory on the GPU (cublasGemmEx: CUBLAS_STATUS_ALLOC_FAILED)',
  );
  device.close();
  assert.equal(stub.live(), '');
});

test('a failure that is not the GPU’s end leaves it usable, and closing whole', { skip }, async () => {
  const device = await openCudaDevice(0);
  const pointer = device.allocate(16);
  stub.fail('cuMemsetD8Async', 1);
  await refuses(
    () => device.clear(pointer, 16),
    'cuda/call-refused',
    'CUDA refused cuMemsetD8Async (CUDA_ERROR_1: words of 1)',
  );
  device.clear(pointer, 16);
  await device.mark().reached();
  const kernels = await device.compile(KERNELS);
  await refuses(
    () => kernels.launch('echo', 0, 32, echoArgument(pointer)),
    'cuda/call-refused',
    'CUDA refused kernel echo of 0 × 1 blocks of 32 threads (CUDA_ERROR_1',
  );
  device.close();
  assert.equal(stub.live(), '');
});

test('work that fails on the GPU is reported by the wait for it, and closing adds nothing to that', {
  skip,
}, async () => {
  const device = await openCudaDevice(0);
  const pointer = device.allocate(16);
  await refuses(
    () => device.clear(pointer, 17),
    'cuda/gpu-failed',
    'The GPU failed at cuMemsetD8Async',
    'CUDA_ERROR_700',
  );
  stub.reset();
  const second = await openCudaDevice(0);
  const moment = second.mark();
  stub.fail('cuEventQuery', LAUNCH_FAILED);
  await assert.rejects(moment.reached(), /The GPU failed at cuEventQuery or in work before it/);
  await assert.rejects(moment.reached(), /The GPU failed/);
  assert.throws(() => second.mark(), /The GPU failed/);
  second.close();
});

test('a status that the driver has no name for is reported by its number', { skip }, async () => {
  const device = await openCudaDevice(0);
  stub.fail('cuMemGetInfo_v2', 321);
  await refuses(() => device.memory(), 'cuda/call-refused', 'CUDA refused cuMemGetInfo_v2 (status 321: words of 321)');
  device.close();
});

test('kernels that the driver rejects are refused with the remedy for versions', { skip }, async () => {
  const device = await openCudaDevice(0);
  stub.fail('cuModuleLoadData', 200);
  await refuses(() => device.compile('// of another driver'), 'cuda/kernels-refused', 'CUDA_ERROR_200');
  device.close();
});
