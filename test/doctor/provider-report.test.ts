import assert from 'node:assert/strict';
import { test } from 'node:test';
import { foundLines, obstacleLines, type ProviderReport, providerNotes } from '../../src/doctor/provider-report.js';

const none: ProviderReport = { directory: null, origin: null, found: [], missing: [], refusal: null };
const absent = (file: string) => ({ file, reason: `Some (${file}) is not usable: looked in /a (X), the loader.` });

test('what was found is listed by place, that of the provider first', () => {
  const report = {
    ...none,
    directory: '/libs',
    origin: 'SAE_PIPE_CUDA_LIBS',
    found: [
      { file: 'libcuda.so.1', path: 'libcuda.so.1', origin: "the system's loader" },
      { file: 'libcudart.so.13', path: '/libs/libcudart.so.13', origin: 'SAE_PIPE_CUDA_LIBS' },
    ],
  };
  assert.deepEqual(foundLines(report), [
    'found in /libs (SAE_PIPE_CUDA_LIBS): libonnxruntime_providers_cuda.so, libonnxruntime_providers_shared.so, libcudart.so.13',
    "found by the system's loader: libcuda.so.1",
  ]);
});

test('absent libraries share a line, a broken one has its own, and cuDNN is only noted', () => {
  const broken = { file: 'libcurand.so.10', reason: 'cuRAND is not usable: looked in /a (X); /a/y did not load: bad.' };
  const missing = [absent('libcudart.so.13'), broken, absent('libcublas.so.13'), absent('libcudnn.so.9')];
  assert.deepEqual(obstacleLines({ ...none, missing, refusal: 'No provider.' }), [
    'No provider',
    'not found: libcudart.so.13, libcublas.so.13 (looked in /a (X), the loader)',
    broken.reason.replace(/\.$/, ''),
  ]);
  const notes = providerNotes({ ...none, missing }, {});
  assert.match(notes.join('\n'), /TF32.*\n.*libcudnn\.so\.9/);
  assert.deepEqual(providerNotes(none, { NVIDIA_TF32_OVERRIDE: '0' }), []);
});
