import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Refusal } from '../../src/errors/refusal.js';
import { CUBLAS, DRIVER, findLibrary, NVRTC, places } from '../../src/machine/cuda-libraries.js';
import { refusalOf } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

function make(root: string, ...directories: string[]): string[] {
  return directories.map((directory) => {
    const path = join(root, directory);
    mkdirSync(path, { recursive: true });
    return path;
  });
}

test('SAE_PIPE_CUDA_LIBS comes first, then the loader, LD_LIBRARY_PATH, toolkits newest first, Python packages', (t) => {
  const root = temporaryDirectory(t);
  make(root, 'usr/local/cuda/lib64', 'usr/local/cuda-12.9/lib64', 'usr/local/cuda-13.0/lib', 'usr/local/cudax/lib64');
  make(root, 'usr/local/lib/python3.12/dist-packages/nvidia/cublas/lib', 'named/lib', 'named/nvidia/cu13/lib', 'empty');
  make(root, 'venv/lib/python3.11/site-packages/nvidia/cuda_nvrtc/lib', 'venv/lib/python3.11/site-packages/nvidia/x');
  make(root, 'prefix/bin', 'prefix/lib/python3.10/site-packages/nvidia/cublas/lib', 'home/.local');
  writeFileSync(join(root, 'prefix/bin/python3'), '');
  const environment = {
    SAE_PIPE_CUDA_LIBS: `${root}/named:${root}/absent`,
    LD_LIBRARY_PATH: `/one::${root}/named/lib:/two`,
    VIRTUAL_ENV: `${root}/venv`,
    PATH: `/nowhere:${root}/prefix/bin`,
    HOME: `${root}/home`,
  };
  const found = places(environment, root).map(({ origin, directory }) => `${origin}: ${directory?.replace(root, '')}`);
  assert.deepEqual(found, [
    'SAE_PIPE_CUDA_LIBS: /named',
    'SAE_PIPE_CUDA_LIBS: /named/lib',
    'SAE_PIPE_CUDA_LIBS: /named/nvidia/cu13/lib',
    'SAE_PIPE_CUDA_LIBS: /absent',
    "the system's loader: undefined",
    'LD_LIBRARY_PATH: /one',
    'LD_LIBRARY_PATH: /two',
    'CUDA toolkits: /usr/local/cuda-13.0/lib',
    'CUDA toolkits: /usr/local/cuda-12.9/lib64',
    'CUDA toolkits: /usr/local/cuda/lib64',
    'Python packages: /venv/lib/python3.11/site-packages/nvidia/cuda_nvrtc/lib',
    'Python packages: /prefix/lib/python3.10/site-packages/nvidia/cublas/lib',
    'Python packages: /usr/local/lib/python3.12/dist-packages/nvidia/cublas/lib',
  ]);
});

/** A loader that knows some names, and files by whether they are there. */
function loader(...known: string[]) {
  return (path: string) => {
    if (path.includes('/') ? !path.includes('broken') : known.includes(path)) return `loaded ${path}`;
    throw new Error(path.includes('/') ? 'invalid ELF header' : `${path}: No such file or directory`);
  };
}

test('an earlier place counts more than a newer version; within a place the newer one', (t) => {
  const root = temporaryDirectory(t);
  const [first, second] = make(root, 'first', 'second') as [string, string];
  for (const path of [`${first}/libnvrtc.so.12`, `${second}/libnvrtc.so.12`, `${second}/libnvrtc.so.13`])
    writeFileSync(path, '');
  const where = (...directories: (string | null)[]) => directories.map((directory) => ({ origin: 'test', directory }));
  const path = (...args: Parameters<typeof where>) => findLibrary(NVRTC, where(...args), loader('libnvrtc.so.13')).path;
  assert.equal(path(first, null, second), `${first}/libnvrtc.so.12`);
  assert.equal(path(second, first), `${second}/libnvrtc.so.13`);
  assert.equal(path(null, first), 'libnvrtc.so.13');
  assert.equal(path(`${root}/absent`, second), `${second}/libnvrtc.so.13`);
  // A driver for CUDA 12 takes no library of CUDA 13, wherever it lies.
  const older = findLibrary(NVRTC, where(null, second), loader('libnvrtc.so.13'), 12);
  assert.deepEqual(older, {
    origin: 'test',
    library: `loaded ${second}/libnvrtc.so.12`,
    path: `${second}/libnvrtc.so.12`,
  });
});

test('a file that does not load is skipped for the next', (t) => {
  const [broken, sound] = make(temporaryDirectory(t), 'broken', 'sound') as [string, string];
  for (const directory of [broken, sound]) writeFileSync(join(directory, 'libcublas.so.12'), '');
  const where = [broken, sound].map((directory) => ({ origin: 'test', directory }));
  assert.equal(findLibrary(CUBLAS, where, loader()).path, `${sound}/libcublas.so.12`);
});

test('a library that is not found is refused by name, with every place, every obstacle and the remedy', async (t) => {
  const root = temporaryDirectory(t);
  const [broken, empty] = make(root, 'broken', 'empty') as [string, string];
  writeFileSync(join(broken, 'libnvrtc.so.12'), '');
  const where = [
    { origin: 'SAE_PIPE_CUDA_LIBS', directory: broken },
    { origin: "the system's loader", directory: null },
    { origin: 'CUDA toolkits', directory: empty },
  ];
  const refusal = await refusalOf(
    () => findLibrary(NVRTC, where, loader('libnvrtc.so.13'), 12),
    Refusal,
    'cuda/no-library',
  );
  assert.equal(
    refusal.message,
    `CUDA's run-time compiler NVRTC (libnvrtc.so.13 or libnvrtc.so.12) is not usable: searched ${broken} (SAE_PIPE_CUDA_LIBS), the system's loader, ${empty} (CUDA toolkits); ${broken}/libnvrtc.so.12 did not load: invalid ELF header; libnvrtc.so.13 is newer than the driver, which supports CUDA 12.`,
  );
  assert.match(
    refusal.remedy!,
    /toolkit 12 or 13 or the Python package nvidia-cuda-nvrtc, or name .* SAE_PIPE_CUDA_LIBS/,
  );
  const none = await refusalOf(() => findLibrary(DRIVER, [where[1]!], loader()), Refusal, 'cuda/no-library');
  assert.equal(none.message, "NVIDIA's driver (libcuda.so.1) is not usable: searched the system's loader.");
});
