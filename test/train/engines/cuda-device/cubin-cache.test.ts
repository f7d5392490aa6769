import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { homedir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, test } from 'node:test';
import { openCudaDevice } from '../../../../src/train/engines/cuda/gpu.js';
import { CubinCache, cubinCache } from '../../../../src/train/engines/cuda/toolkit.js';
import { temporaryDirectory } from '../../../temporary.js';
import { buildStub, echoArgument, type Stub } from './stub.js';

const built = await buildStub();
const skip = typeof built === 'string' ? built : false;
const stub = built as Stub;
const KEY = { source: 'a', options: ['b'], compiler: '12.9', driver: 12_090 };

beforeEach(() => {
  if (!skip) stub.reset();
});

test('a cache entry is read under its own key only', async (t) => {
  const cache = new CubinCache(join(temporaryDirectory(t), 'not', 'yet', 'there'));
  assert.equal(await cache.read(KEY), null);
  await cache.write(KEY, Uint8Array.of(1, 2, 3));
  assert.deepEqual([...(await cache.read(KEY))!], [1, 2, 3]);
  for (const other of [{ source: 'a ' }, { options: ['b', ''] }, { compiler: '13.0' }, { driver: 13_000 }]) {
    assert.equal(await cache.read({ ...KEY, ...other }), null);
  }
  await cache.write(KEY, Uint8Array.of(4));
  assert.deepEqual([...(await cache.read(KEY))!], [4]);
  assert.equal(readdirSync(cache.directory!).length, 1, 'nothing is left aside');
});

test('a file that is cut, changed or empty is not an entry', async (t) => {
  const cache = new CubinCache(temporaryDirectory(t));
  await cache.write(
    KEY,
    Uint8Array.from({ length: 1000 }, (_, i) => i),
  );
  const path = join(cache.directory!, readdirSync(cache.directory!)[0]!);
  const whole = readFileSync(path);
  for (const length of [0, 10, 32, 33, 1031]) {
    writeFileSync(path, whole.subarray(0, length));
    assert.equal(await cache.read(KEY), null, `${length} bytes`);
  }
  const changed = Buffer.from(whole);
  changed[500]! ^= 1;
  writeFileSync(path, changed);
  assert.equal(await cache.read(KEY), null);
  writeFileSync(path, whole);
  assert.equal((await cache.read(KEY))!.length, 1000);
});

test('a directory that cannot be made is not a failure', async (t) => {
  const file = join(temporaryDirectory(t), 'file');
  writeFileSync(file, '');
  const cache = new CubinCache(join(file, 'below'));
  await cache.write(KEY, Uint8Array.of(1));
  assert.equal(await cache.read(KEY), null);
});

test('it is in the user’s cache directory, or where SAE_PIPE_CUDA_CACHE says', async () => {
  // A user without a home directory compiles each time.
  const none = new CubinCache(undefined);
  await none.write(KEY, Uint8Array.of(1));
  assert.equal(await none.read(KEY), null);
  assert.equal(cubinCache({}).directory, join(homedir(), '.cache/sae-pipe/cuda'));
  assert.equal(cubinCache({ XDG_CACHE_HOME: '/x' }).directory, '/x/sae-pipe/cuda');
  assert.equal(cubinCache({ XDG_CACHE_HOME: '/x', SAE_PIPE_CUDA_CACHE: '/y' }).directory, '/y');
});

/** Opens a device, compiles and launches; how often the compiler ran for it. */
async function compilations(source: string): Promise<number> {
  const before = stub.compiled();
  const device = await openCudaDevice(0);
  const kernels = await device.compile(source);
  const out = device.allocate(48);
  kernels.launch('echo', 1, 1, echoArgument(out));
  await device.mark().reached();
  device.close();
  return stub.compiled() - before;
}

test('a source is compiled once for a card; a broken entry is made again', { skip }, async () => {
  assert.equal(await compilations('// once'), 1);
  assert.equal(await compilations('// once'), 0);
  assert.equal(await compilations('// twice'), 1);
  // A newer card of this machine: its code is PTX, which the driver translates.
  stub.reset();
  stub.set({ capability: 100 });
  assert.equal(await compilations('// once'), 1);
  assert.ok(stub.calls().includes('cuModuleLoadData PTX 90'));
  stub.reset();
  assert.equal(await compilations('// once'), 0);
  assert.ok(stub.calls().includes('cuModuleLoadData CUBIN 90'));

  const directory = join(stub.directory, 'cache');
  const cache = new CubinCache(directory);
  for (const name of readdirSync(directory)) {
    const path = join(directory, name);
    writeFileSync(path, readFileSync(path).subarray(0, statSync(path).size - 1));
  }
  assert.equal(await compilations('// once'), 1);
  assert.equal(await compilations('// once'), 0);
  // Whole, but nothing that the driver takes.
  const key = { source: '// once', options: ['--gpu-architecture=sm_90'], compiler: '12.9', driver: 12_090 };
  assert.ok((await cache.read(key)) !== null);
  await cache.write(key, Buffer.from('nonsense\0'));
  assert.equal(await compilations('// once'), 1);
  assert.equal(await compilations('// once'), 0);
});

test('a source that does not compile is refused with the compiler’s words, and not kept', { skip }, async () => {
  const device = await openCudaDevice(0);
  const before = existsSync(join(stub.directory, 'cache')) ? readdirSync(join(stub.directory, 'cache')).length : 0;
  for (let i = 0; i < 2; i++) {
    await assert.rejects(
      device.compile('#error'),
      /do not compile \(NVRTC 12\.9, .*sm_90\): kernels\.cu\(1\): error: #error/,
    );
  }
  assert.equal(readdirSync(join(stub.directory, 'cache')).length, before);
  device.close();
  assert.equal(stub.live(), '');
});

test('the event loop runs while the compiler works', { skip }, async () => {
  const device = await openCudaDevice(0);
  let turns = 0;
  let done = false;
  const count = () => {
    turns++;
    if (!done) setImmediate(count);
  };
  count();
  await device.compile('// for the event loop');
  done = true;
  assert.ok(turns > 10, `${turns} turns of the event loop`);
  device.close();
});
