import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { places } from '../../../../src/machine/cuda-libraries.js';
import { DRIVER_FUNCTIONS, NEWER_FUNCTIONS } from '../../../../src/train/engines/cuda/driver.js';
import { CUBLAS_FUNCTIONS, NVRTC_FUNCTIONS } from '../../../../src/train/engines/cuda/toolkit.js';

/** A header of the toolkit, or next to the libraries of a Python package. */
function header(name: string): string | undefined {
  const beside = places().flatMap(({ directory }) => (directory === null ? [] : [join(directory, '../include', name)]));
  return ['/usr/local/cuda/include', '/usr/include']
    .map((path) => join(path, name))
    .concat(beside)
    .find(existsSync);
}

/** How a parameter of a CUDA header is passed: what lies in a register, not what it means. */
function passed(declared: string): string {
  const type = declared
    .replace(/\bconst\b/g, '')
    .replace(/\s+/g, ' ')
    .trim();
  if (/^char \*/.test(type) && !/\*\s*\*/.test(type) && /^const char/.test(declared.trim())) return 'str';
  if (/[*[]/.test(type)) return 'void *';
  if (/^CUdeviceptr\b/.test(type)) return 'uint64_t';
  if (/^(CUcontext|CUstream|CUevent|CUmodule|CUfunction|nvrtcProgram|cublasHandle_t|cudaStream_t)\b/.test(type))
    return 'void *';
  if (/^size_t\b/.test(type)) return 'size_t';
  if (/^unsigned int\b/.test(type)) return 'uint';
  if (/^unsigned char\b/.test(type)) return 'uchar';
  return 'int';
}

/** The parameters that a header declares for a function; `_v2` is often hidden behind a macro of the plain name. */
function declaration(text: string, name: string): string[] | undefined {
  const plain = name.replace(/_v2$/, '');
  const renamed = new RegExp(`^#define ${plain}\\s+(__CUDA_API_PT[DS]Z?\\()?${name}\\b`, 'm').test(text);
  for (const candidate of renamed ? [plain, name] : [name]) {
    const found = new RegExp(
      `\\b(?:CUresult CUDAAPI|nvrtcResult|cublasStatus_t CUBLASWINAPI)\\s+${candidate}\\s*\\(([^)]*)\\)`,
    ).exec(text);
    if (found) return found[1]!.split(',').map(passed);
  }
  return undefined;
}

const headers = [
  { file: 'cuda.h', functions: { ...DRIVER_FUNCTIONS, ...NEWER_FUNCTIONS } },
  { file: 'nvrtc.h', functions: NVRTC_FUNCTIONS },
  { file: 'cublas_api.h', functions: CUBLAS_FUNCTIONS },
];
for (const { file, functions } of headers) {
  const path = header(file);
  const skip = path === undefined ? `${file} of the CUDA toolkit is not on this machine` : false;
  test(`functions are called as ${file} declares them`, { skip }, () => {
    const text = readFileSync(path!, 'utf8');
    for (const [name, parameters] of Object.entries(functions)) {
      const declared = declaration(text, name);
      // An address of the device is declared as `void *` by cuBLAS, which knows no CUdeviceptr, and is as wide.
      const called = (parameters as readonly string[]).map((type) =>
        file === 'cublas_api.h' && type === 'uint64_t' ? 'void *' : type,
      );
      assert.deepEqual(called, declared, name);
    }
  });
}
