import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { cpSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { native } from '../../../../src/train/engines/cuda/native.js';
import { fixture } from '../../../fixtures.js';
import { temporaryDirectory } from '../../../temporary.js';

const SOURCES = 'test/train/engines/cuda-device/stub';
const TOOLKIT = '/usr/local/cuda/include';

/** The driver, cuBLAS and NVRTC without a GPU (see stub/driver.c), and control over them. */
export interface Stub {
  readonly directory: string;
  /** As after loading: nothing called, one GPU of compute capability 9.0 and 1 GiB under a driver for CUDA 12.9. */
  reset(): void;
  /** Lines of the calls since the last reset or `forget`. */
  calls(): string[];
  forget(): void;
  set(gpu: { capability?: number; version?: number; devices?: number; total?: number; uploadsFirst?: boolean }): void;
  /** The call of a function after `after` more of it fails, once; with a status of a lost GPU, so does all after it. */
  fail(name: string, status: number, after?: number): void;
  stealContext(): void;
  /** What was allocated and not released; empty if everything was. */
  live(): string;
  /** Sources that were compiled since the start of the process. */
  compiled(): number;
}

/**
 * Copies the stubs, compiled against the toolkit's cuda.h where there is one, into a separate directory, and has
 * CUDA's libraries looked for there. A string says why there are none.
 */
export async function buildStub(): Promise<Stub | string> {
  if (process.platform !== 'linux') return 'the stubs of the CUDA libraries are for Linux';
  if (spawnSync('gcc', ['--version']).status !== 0)
    return 'gcc, which compiles the stubs of the CUDA libraries, is missing';
  const directory = temporaryDirectory();
  cpSync(await compiledStubs(), directory, { recursive: true });
  process.env.SAE_PIPE_CUDA_LIBS = directory;
  process.env.SAE_PIPE_CUDA_CACHE = join(directory, 'cache');

  const koffi = await native();
  const driver = koffi.load(join(directory, 'libcuda.so.1'));
  const reset = driver.func('void stub_reset()');
  const set = driver.func('void stub_set(int, int, int, int)');
  const setTotal = driver.func('void stub_set_total(size_t)');
  const fail = driver.func('void stub_fail(str, int, int)');
  const calls = driver.func('str stub_calls()');
  const compiled = koffi.load(join(directory, 'libnvrtc.so.12')).func('int stub_compiled()');
  return {
    directory,
    reset: () => reset(),
    calls: () => calls().split('\n').slice(0, -1),
    forget: driver.func('void stub_forget()'),
    set: ({ capability = 90, version = 12_090, devices = 1, total = 2 ** 30, uploadsFirst = false }) => {
      set(capability, version, devices, uploadsFirst ? 1 : 0);
      setTotal(total);
    },
    fail: (name, status, after = 0) => fail(name, after, status),
    stealContext: driver.func('void stub_steal_context()'),
    live: () => driver.func('str stub_live()')().trim(),
    compiled: () => compiled(),
  };
}

/** Compiled once a build for the same text, by whichever test file asks first. */
function compiledStubs(): Promise<string> {
  const toolkit = existsSync(join(TOOLKIT, 'cuda.h')) ? ['-DHAVE_CUDA_H', `-I${TOOLKIT}`] : [];
  const options = ['-std=gnu11', '-O1', '-Wall', '-Werror', '-shared', '-fPIC', ...toolkit];
  const texts = readdirSync(SOURCES).map((name) => readFileSync(join(SOURCES, name), 'utf8'));
  const hash = createHash('sha256')
    .update(JSON.stringify([options, texts]))
    .digest('hex');
  return fixture(`stubs-${hash.slice(0, 32)}`, async (own) => {
    const compile = (library: string, source: string, ...more: string[]) => {
      const names = [`-Wl,-soname,${library}`, '-o', join(own, library), join(SOURCES, source)];
      const { status, stderr } = spawnSync('gcc', [...options, ...names, ...more], { encoding: 'utf8' });
      if (status !== 0) throw new Error(`gcc could not compile ${source}:\n${stderr}`);
    };
    compile('libcuda.so.1', 'driver.c', '-lpthread');
    compile('libcublas.so.12', 'cublas.c', `-L${own}`, '-l:libcuda.so.1', '-Wl,-rpath,$ORIGIN');
    compile('libnvrtc.so.12', 'nvrtc.c');
  });
}

/** The argument of the stub's kernel echo, as its struct lies. */
export function echoArgument(out: bigint, int = 1, long = 1n, float = 1): Uint8Array {
  const view = new DataView(new ArrayBuffer(32));
  view.setBigUint64(0, out, true);
  view.setInt32(8, int, true);
  view.setBigInt64(16, long, true);
  view.setFloat32(24, float, true);
  return new Uint8Array(view.buffer);
}

/** That of saxpy: y [n] += a x [n]. */
export function saxpyArgument(y: bigint, x: bigint, n: bigint, a: number): Uint8Array {
  const view = new DataView(new ArrayBuffer(32));
  for (const [i, value] of [y, x, n].entries()) view.setBigUint64(8 * i, value, true);
  view.setFloat32(24, a, true);
  return new Uint8Array(view.buffer);
}
