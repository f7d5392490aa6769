import { existsSync } from 'node:fs';
import { Refusal } from '../../../errors/refusal.js';
import type { Product, ProductPrecision } from './device.js';
import { CUBLAS, findLibrary, type Place } from './libraries.js';
import type { Native } from './native.js';

const POINTER = 'void *';
const ADDRESS = 'uint64_t';
const INTS = (count: number) => Array.from({ length: count }, () => 'int');

/** The parameters of cuBLAS's functions as cublas_api.h declares them; each returns a cublasStatus_t, an int. */
export const CUBLAS_FUNCTIONS = {
  cublasCreate_v2: [POINTER],
  cublasDestroy_v2: [POINTER],
  cublasSetStream_v2: [POINTER, POINTER],
  cublasSetMathMode: [POINTER, 'int'],
  cublasGemmEx: [
    ...[POINTER, ...INTS(5), POINTER, ADDRESS, 'int', 'int', ADDRESS, 'int', 'int'],
    ...[POINTER, ADDRESS, 'int', 'int', 'int', 'int'],
  ],
};
type CublasFunction = keyof typeof CUBLAS_FUNCTIONS;

const [SUCCESS, ALLOC_FAILED, NOT_SUPPORTED] = [0, 3, 15];
const [OP_N, OP_T] = [0, 1];
/** CUBLAS_DEFAULT_MATH, with partial sums kept in float32 for bfloat16 too. */
const SUMS_IN_FLOAT32 = 0 | 16;
const GEMM_DEFAULT = -1;
const CUDA_R_32F = 0;
const INT_MAX = 2 ** 31 - 1;

/** cudaDataType of A and B, cublasComputeType_t; sums are float32. */
const TYPES: Record<ProductPrecision, { readonly operands: number; readonly compute: number }> = {
  float32: { operands: CUDA_R_32F, compute: 68 },
  tf32: { operands: CUDA_R_32F, compute: 77 },
  bfloat16: { operands: 14, compute: 68 },
};

/** Matrix products in one stream. */
export class Cublas {
  private readonly functions: Record<CublasFunction, (...args: unknown[]) => number>;
  private readonly statusName: (status: number) => string;
  private readonly handle: bigint;
  private readonly one = Float32Array.of(1);
  private readonly zero = Float32Array.of(0);

  /** @throws Refusal when the library lacks a function, or has no memory */
  constructor(
    library: ReturnType<Native['load']>,
    readonly path: string,
    stream: bigint,
  ) {
    try {
      const bound = Object.entries(CUBLAS_FUNCTIONS).map(([name, types]) => [name, library.func(name, 'int', types)]);
      this.functions = Object.fromEntries(bound);
      this.statusName = library.func('cublasGetStatusName', 'str', ['int']);
    } catch (error) {
      throw new Refusal(`${path} is too old: ${(error as Error).message}.`, CUBLAS.remedy, 'cuda/library-too-old');
    }
    const out = new BigUint64Array(1);
    this.call('cublasCreate_v2', out);
    this.handle = out[0]!;
    try {
      this.call('cublasSetStream_v2', this.handle, stream);
      this.call('cublasSetMathMode', this.handle, SUMS_IN_FLOAT32);
    } catch (error) {
      this.functions.cublasDestroy_v2(this.handle);
      throw error;
    }
  }

  /**
   * Starts a product. cuBLAS's matrices are column-major, ours row-major, and a row-major matrix is its transpose
   * column-major: Cᵀ [n × m] = op(B)ᵀ Aᵀ, without moving anything. B [k × n] is Bᵀ as it lies; B lying as [n × k] is
   * Bᵀ's transpose.
   */
  multiply({ m, n, k, a, b, c, transposedB, strideC, precision }: Product): void {
    for (const size of [m, n, k, strideC]) {
      if (!Number.isInteger(size) || size < 1 || size > INT_MAX) throw new RangeError(`${size} is no size of a matrix`);
    }
    if (strideC < n) throw new RangeError(`rows of ${n} do not fit a stride of ${strideC}`);
    const { operands, compute } = TYPES[precision];
    const operation = transposedB ? OP_T : OP_N;
    this.call(
      'cublasGemmEx',
      ...[this.handle, operation, OP_N, n, m, k, this.one],
      ...[b, operands, transposedB ? k : n, a, operands, k],
      ...[this.zero, c, CUDA_R_32F, strideC, compute, GEMM_DEFAULT],
    );
  }

  close(): void {
    this.call('cublasDestroy_v2', this.handle);
  }

  private call(name: CublasFunction, ...args: unknown[]): void {
    const status = this.functions[name](...args);
    if (status === SUCCESS) return;
    const said = this.statusName(status);
    if (status === ALLOC_FAILED) {
      throw new Refusal(
        `cuBLAS found too little memory on the GPU (${name}: ${said}).`,
        'Use a smaller --batch or --d-sae, or stop what else runs on the GPU.',
        'cuda/out-of-memory',
      );
    }
    if (status === NOT_SUPPORTED) {
      throw new Refusal(
        `cuBLAS cannot compute this product on this GPU (${said}).`,
        'Use --engine-precision float32.',
        'cuda/unsupported-product',
      );
    }
    const remedy =
      name === 'cublasCreate_v2'
        ? 'See whether the driver serves this version (nvidia-smi), or name another in SAE_PIPE_CUDA_LIBS.'
        : 'Go on from the last checkpoint with --resume.';
    throw new Refusal(`cuBLAS (${this.path}) failed: ${name} answered ${said}.`, remedy, 'cuda/cublas-failed');
  }
}

/** @param newest see findLibrary; @throws Refusal when there is none */
export function openCublas(koffi: Native, where: readonly Place[], stream: bigint, newest?: number): Cublas {
  const load = (path: string) => {
    // Its other half, which the loader would look for in its own places only.
    const half = path.replace('libcublas.so', 'libcublasLt.so');
    if (existsSync(half)) koffi.load(half);
    return koffi.load(path);
  };
  const { library, path } = findLibrary(CUBLAS, where, load, newest);
  return new Cublas(library, path, stream);
}
