import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { Refusal } from '../../src/errors/refusal.js';
import { CUDNN, PROVIDER_LIBRARIES } from '../../src/machine/cuda-libraries.js';
import { type CudaProvider, findProvider, PROVIDER_FILES } from '../../src/onnx/cuda-provider.js';
import { refusalOf } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

const VERSION = '1.30.0';

/** A directory with some of the provider's libraries, and what Python's package says of its version. */
function place(root: string, name: string, files: readonly string[], version?: string): string {
  const directory = join(root, name);
  mkdirSync(directory, { recursive: true });
  for (const file of files) writeFileSync(join(directory, file), '');
  if (version) writeFileSync(join(directory, 'build_and_package_info.py'), `__version__ = '${version}'\n`);
  return directory;
}

const refusal = (where: Parameters<typeof findProvider>[0], own: string) =>
  refusalOf(() => findProvider(where, own, VERSION), Refusal, 'onnx/no-provider');

test('a named place comes first, then that of ONNX Runtime, then the others; a place without both libraries is skipped', (t) => {
  const root = temporaryDirectory(t);
  const [named, own, python] = ['named', 'own', 'python'].map((name) => place(root, name, PROVIDER_FILES));
  const half = place(root, 'half', PROVIDER_FILES.slice(0, 1));
  const where = (...directories: string[]) => [
    ...directories.map((directory) => ({ origin: 'SAE_PIPE_CUDA_LIBS', directory })),
    { origin: "the system's loader", directory: null },
    { origin: 'Python packages', directory: python! },
  ];
  const found = (...args: Parameters<typeof findProvider>) => findProvider(...args).directory;
  assert.equal(found(where(half, named!), own!, VERSION), named);
  assert.equal(found(where(half), own!, VERSION), own);
  assert.equal(found(where(half), join(root, 'nothing'), VERSION), python);
});

test('a provider of another version, and one library without the other, are refused by name', async (t) => {
  const root = temporaryDirectory(t);
  const other = place(root, 'other', PROVIDER_FILES, '1.29.0');
  const half = place(root, 'half', PROVIDER_FILES.slice(1));
  const where = [other, half].map((directory) => ({ origin: 'SAE_PIPE_CUDA_LIBS', directory }));
  const { message, remedy } = await refusal(where, root);
  for (const words of [VERSION, '1.29.0', other, half, ...PROVIDER_FILES]) assert.ok(message.includes(words), words);
  assert.match(remedy!, /onnxruntime-gpu==1\.30\.0/);
  // Two libraries copied elsewhere have left their package behind.
  const copied = place(root, 'copied', PROVIDER_FILES);
  writeFileSync(
    join(copied, PROVIDER_FILES[0]),
    Buffer.concat([Buffer.alloc(2 ** 24 - 3), Buffer.from('\0' + '1.28.1\0more')]),
  );
  const { message: inside } = await refusal([{ origin: 'SAE_PIPE_CUDA_LIBS', directory: copied }], root);
  assert.ok(inside.includes('1.28.1'), inside);
  // A package that says it in other words.
  writeFileSync(join(copied, 'build_and_package_info.py'), 'version: 1.28.1');
  await refusal([{ origin: 'SAE_PIPE_CUDA_LIBS', directory: copied }], root);
  // The right one further on is used.
  const same = place(root, 'same', PROVIDER_FILES, VERSION);
  assert.equal(findProvider([...where, { origin: 'Python packages', directory: same }], root, VERSION).directory, same);
});

test('where none is found, every place is named', async (t) => {
  const root = temporaryDirectory(t);
  const { message } = await refusal([{ origin: 'SAE_PIPE_CUDA_LIBS', directory: join(root, 'named') }], root);
  assert.match(message, /named \(SAE_PIPE_CUDA_LIBS\), .*\(ONNX Runtime itself\)/);
});

/** Builds a library that has nothing but its name, and what else is given. */
function build(directory: string, name: string, source = ''): void {
  execFileSync('gcc', ['-shared', '-fPIC', `-Wl,-soname,${name}`, '-o', join(directory, name), '-x', 'c', '-'], {
    input: source,
  });
}

const SHARED = `static void *host; void Provider_SetHost(void *h) { host = h; } void *Provider_GetHost(void) { return host; }`;
/** Says that ONNX Runtime has opened it, and is not taken for a provider. */
const OPENED = `#include <stdio.h>
__attribute__((constructor)) static void opened(void) { fputs("the provider was opened", stderr); }`;

/** Libraries and a session on cuda, in a separate process. */
function inProcess(
  t: TestContext,
  libs: string,
  cpuFirst = false,
): { provider: CudaProvider; error: string; remedy: string; mapped: string; stderr: string } {
  const script = `
    import { readFileSync } from 'node:fs';
    import { prepareCudaProvider } from './dist/src/onnx/cuda-provider.js';
    import { openSession } from './dist/src/onnx/session.js';
    import { GraphBuilder } from './dist/src/onnx/graph.js';
    const g = new GraphBuilder('one');
    g.output('y', g.relu(g.input('x', 'float32', [1])), 'float32', [1]);
    if (${cpuFirst}) await openSession(g.encode());
    const provider = await prepareCudaProvider();
    const { message: error, remedy } = await openSession(g.encode(), { device: 'cuda' }).catch((e) => e);
    console.log(JSON.stringify({ provider, error, remedy, mapped: readFileSync('/proc/self/maps', 'utf8') }));`;
  const cache = temporaryDirectory(t);
  const env = { ...process.env, SAE_PIPE_CUDA_LIBS: libs, SAE_PIPE_CUDA_CACHE: cache };
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], {
    env,
    encoding: 'utf8',
  });
  assert.ok(stdout, stderr);
  const answer = JSON.parse(stdout);
  if (answer.provider.directory) assert.equal(readdirSync(cache).length, 1);
  return { ...answer, stderr };
}

const withoutGcc =
  process.platform !== 'linux' || process.arch !== 'x64' || spawnSync('gcc', ['--version']).status !== 0
    ? 'gcc on Linux builds the libraries'
    : false;

test('libraries of SAE_PIPE_CUDA_LIBS are loaded by path, and ONNX Runtime takes its provider from there', {
  skip: withoutGcc,
}, (t) => {
  const libs = temporaryDirectory(t);
  for (const { files } of [...PROVIDER_LIBRARIES, CUDNN]) build(libs, files[0]!);
  build(libs, PROVIDER_FILES[1], SHARED);
  build(libs, PROVIDER_FILES[0], OPENED);
  const { provider, mapped, stderr } = inProcess(t, libs);
  assert.equal(provider.refusal, null);
  assert.equal(provider.directory, libs);
  assert.equal(provider.late, false);
  assert.deepEqual(provider.missing, []);
  for (const { file, path, origin } of provider.found) {
    assert.deepEqual([path, origin], [join(libs, file), 'SAE_PIPE_CUDA_LIBS']);
    assert.ok(mapped.includes(path), path);
  }
  assert.match(stderr, /the provider was opened/);
});

test('if ONNX Runtime was loaded before its provider was searched for, the refusal says so', {
  skip: withoutGcc,
}, (t) => {
  const libs = temporaryDirectory(t);
  build(libs, PROVIDER_FILES[1], SHARED);
  build(libs, PROVIDER_FILES[0], OPENED);
  const late = inProcess(t, libs, true);
  assert.equal(late.provider.late, true);
  assert.match(late.remedy, /CUDA sessions first/);
  assert.doesNotMatch(late.stderr, /the provider was opened/);
});

test('a session on cuda without a provider is refused with the places and the missing libraries', {
  skip: withoutGcc,
}, (t) => {
  const libs = temporaryDirectory(t);
  build(libs, 'libcudart.so.13');
  writeFileSync(join(libs, 'libcurand.so.10'), 'not a library');
  const { provider, error } = inProcess(t, libs);
  assert.ok(error.includes(libs) && error.includes(PROVIDER_FILES[0]), error);
  assert.deepEqual(provider.found.map(({ file }) => file).filter((file) => file === 'libcudart.so.13').length, 1);
  const curand = provider.missing.find(({ file }) => file === 'libcurand.so.10');
  assert.match(curand!.reason, /did not load/);
});
