import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Refusal } from '../../../../src/errors/refusal.js';
import { places } from '../../../../src/machine/cuda-libraries.js';
import { native } from '../../../../src/train/engines/cuda/native.js';
import { type Nvrtc, openNvrtc, targetOf } from '../../../../src/train/engines/cuda/toolkit.js';
import { refusalOf, refuses } from '../../../config/refuses.js';

const SUPPORTED = [75, 80, 90, 100];
/** Deep enough to need more stack than a small thread has. */
const SOURCE = `extern "C" __global__ void scale(float *x, long long n, float a) {
  long long i = blockIdx.x * (long long)blockDim.x + threadIdx.x;
  if (i < n) x[i] = ${'('.repeat(400)}a${' + 0.5f)'.repeat(400)} * x[i];
}`;

async function real(): Promise<Nvrtc | string> {
  if (process.platform !== 'linux') return 'NVRTC is looked for on Linux only';
  try {
    return openNvrtc(await native(), places());
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return `${error.message} ${error.remedy}`;
  }
}
const found = await real();
const skip = typeof found === 'string' ? found : false;
const nvrtc = found as Nvrtc;

test('machine code for a card that the compiler knows, PTX of the nearest older one for others', async () => {
  assert.deepEqual(targetOf(90, SUPPORTED, '12.9'), { options: ['--gpu-architecture=sm_90'], code: 'CUBIN' });
  assert.deepEqual(targetOf(75, SUPPORTED, '12.9'), { options: ['--gpu-architecture=sm_75'], code: 'CUBIN' });
  assert.deepEqual(targetOf(120, SUPPORTED, '12.9'), { options: ['--gpu-architecture=compute_100'], code: 'PTX' });
  assert.deepEqual(targetOf(89, [90, 80, 75], '12.9'), { options: ['--gpu-architecture=compute_80'], code: 'PTX' });
  await refuses(
    () => targetOf(70, SUPPORTED, '13.0'),
    'cuda/gpu-too-old',
    '(compute capability 7.0) is too old for NVRTC 13.0',
    'supports 7.5',
  );
});

test('NVRTC compiles for the cards it knows: an ELF file for the requested architecture', { skip }, async () => {
  assert.match(nvrtc.version, /^1[2-9]\.\d+$/);
  const codes: Uint8Array[] = [];
  for (const architecture of [80, 90]) {
    const code = await nvrtc.compile(SOURCE, targetOf(architecture, nvrtc.architectures, nvrtc.version));
    const header = new DataView(code.buffer);
    assert.equal(header.getUint32(0), 0x7f454c46, 'ELF');
    assert.equal(header.getUint16(18, true), 190, 'EM_CUDA, the ELF machine of NVIDIA');
    assert.ok(Buffer.from(code).includes('.text.scale\0'));
    codes.push(code);
  }
  assert.notDeepEqual(codes[0], codes[1]);
});

test('NVRTC gives PTX, closed by a zero, for a card newer than itself', { skip }, async () => {
  const newest = Math.max(...nvrtc.architectures);
  const code = Buffer.from(await nvrtc.compile(SOURCE, targetOf(newest + 100, nvrtc.architectures, nvrtc.version)));
  assert.equal(code.indexOf(0), code.length - 1);
  assert.match(code.toString(), new RegExp(`\\.target sm_${newest}[^]*\\.entry scale\\(`));
});

test("the compiler's errors for a broken source are in the refusal; the next source compiles", { skip }, async () => {
  const target = targetOf(90, nvrtc.architectures, nvrtc.version);
  const refusal = await refusalOf(
    () => nvrtc.compile('extern "C" __global__ void f() { nothing = 1; }', target),
    Refusal,
    'cuda/kernels-do-not-compile',
  );
  assert.match(
    refusal.message,
    /--gpu-architecture=sm_90\): kernels\.cu\(1\): error: identifier "nothing" is undefined/,
  );
  assert.ok(!refusal.message.includes('\0'));
  await refuses(
    () => nvrtc.compile(SOURCE, { options: ['--no-such-option'], code: 'CUBIN' }),
    'cuda/compiler-failed',
    'returned nvrtcResult 5',
  );
  assert.ok((await nvrtc.compile(SOURCE, target)).length > 1000);
});

test('two compilations at once do not disturb each other or the event loop', { skip }, async () => {
  let turns = 0;
  let done = false;
  const count = () => {
    turns++;
    if (!done) setImmediate(count);
  };
  count();
  const target = targetOf(80, nvrtc.architectures, nvrtc.version);
  const other = SOURCE.replace('scale', 'other');
  const both = await Promise.all([SOURCE, other].map((source) => nvrtc.compile(source, target)));
  done = true;
  assert.ok(Buffer.from(both[0]!).includes('.text.scale\0') && Buffer.from(both[1]!).includes('.text.other\0'));
  assert.ok(turns > 10, `${turns} turns of the event loop`);
});
