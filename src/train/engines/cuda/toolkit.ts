/** The toolkit's two libraries: NVRTC, which compiles kernels (kept on disk from run to run), and cuBLAS. */
import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { makeDirectory } from '../../../disk/durable.js';
import { writeAside } from '../../../disk/output-file.js';
import { Refusal } from '../../../errors/refusal.js';
import { CUBLAS, cudaCacheDirectory, findLibrary, type LibraryPlace, NVRTC } from '../../../machine/cuda-libraries.js';
import type { Product, ProductPrecision } from './device.js';
import type { Native } from './native.js';

const POINTER = 'void *';

/** The parameters of NVRTC's functions as nvrtc.h declares them; each returns an nvrtcResult, an int. */
export const NVRTC_FUNCTIONS = {
  nvrtcVersion: [POINTER, POINTER],
  nvrtcGetNumSupportedArchs: [POINTER],
  nvrtcGetSupportedArchs: [POINTER],
  nvrtcCreateProgram: [POINTER, 'str', 'str', 'int', POINTER, POINTER],
  nvrtcCompileProgram: [POINTER, 'int', POINTER],
  nvrtcDestroyProgram: [POINTER],
  nvrtcGetProgramLogSize: [POINTER, POINTER],
  nvrtcGetProgramLog: [POINTER, POINTER],
  nvrtcGetCUBINSize: [POINTER, POINTER],
  nvrtcGetCUBIN: [POINTER, POINTER],
  nvrtcGetPTXSize: [POINTER, POINTER],
  nvrtcGetPTX: [POINTER, POINTER],
} as const;
type NvrtcFunction = keyof typeof NVRTC_FUNCTIONS;

const COMPILATION_FAILED = 6;

/** How to compile for a card. */
export interface CompileTarget {
  readonly options: readonly string[];
  /** Machine code, or PTX, which the driver translates. */
  readonly code: 'CUBIN' | 'PTX';
}

/**
 * Machine code if the compiler supports the card, PTX for the nearest older architecture if the card is newer.
 *
 * @param architecture the card's compute capability, ten times the major version and the minor one
 * @param supported the compiler's
 * @throws Refusal if the card is too old
 */
export function targetOf(architecture: number, supported: readonly number[], compiler: string): CompileTarget {
  if (supported.includes(architecture)) return { options: [`--gpu-architecture=sm_${architecture}`], code: 'CUBIN' };
  const older = supported.filter((known) => known < architecture);
  if (older.length === 0) {
    throw new Refusal(
      `This GPU (compute capability ${(architecture / 10).toFixed(1)}) is too old for NVRTC ${compiler}, which supports ${(Math.min(...supported) / 10).toFixed(1)} and later.`,
      'Put an older CUDA version in SAE_PIPE_CUDA_LIBS (12 or later), or use another GPU.',
      'cuda/gpu-too-old',
    );
  }
  return { options: [`--gpu-architecture=compute_${Math.max(...older)}`], code: 'PTX' };
}

/** CUDA's compiler for source text at run time. It needs no GPU. */
export class Nvrtc {
  private readonly functions: Record<NvrtcFunction, ReturnType<ReturnType<Native['load']>['func']>>;
  /** `12.9` */
  readonly version: string;
  /** Architectures that it compiles for: 90 is sm_90. */
  readonly architectures: readonly number[];

  /** @throws Refusal if the library lacks a function */
  constructor(
    private readonly koffi: Native,
    library: ReturnType<Native['load']>,
    readonly path: string,
  ) {
    const bound = Object.entries(NVRTC_FUNCTIONS).map(([name, parameters]) => {
      try {
        return [name, library.func(name, 'int', [...parameters])];
      } catch {
        throw new Refusal(`${path} has no ${name}: it is too old.`, NVRTC.remedy, 'cuda/library-too-old');
      }
    });
    this.functions = Object.fromEntries(bound);
    const [major, minor] = [new Int32Array(1), new Int32Array(1)];
    this.call('nvrtcVersion', major, minor);
    this.version = `${major[0]}.${minor[0]}`;
    const count = new Int32Array(1);
    this.call('nvrtcGetNumSupportedArchs', count);
    const architectures = new Int32Array(count[0]!);
    this.call('nvrtcGetSupportedArchs', architectures);
    this.architectures = [...architectures];
  }

  /**
   * Compiles on another thread; the event loop continues.
   *
   * @throws Refusal with the compiler's message if the source does not compile
   */
  async compile(source: string, { options, code }: CompileTarget): Promise<Uint8Array> {
    const out = new BigUint64Array(1);
    this.call('nvrtcCreateProgram', out, source, 'kernels.cu', 0, null, null);
    const program = out[0]!;
    try {
      const texts = options.map((option) => Buffer.from(`${option}\0`));
      const pointers = new BigUint64Array(texts.map((text) => this.koffi.address(text)));
      const status: number = await promisify(this.functions.nvrtcCompileProgram.async)(
        program,
        options.length,
        pointers,
      );
      // Keeps the options alive until here: koffi only has their addresses.
      texts.length = 0;
      if (status === COMPILATION_FAILED) {
        const log = this.text(program, 'nvrtcGetProgramLogSize', 'nvrtcGetProgramLog');
        throw new Refusal(
          `The CUDA kernels do not compile (NVRTC ${this.version}, ${options.join(' ')}): ${log.trim().replace(/\s*\n\s*/g, ' ')}`,
          'Put another CUDA version in SAE_PIPE_CUDA_LIBS, or use another --engine, and report this.',
          'cuda/kernels-do-not-compile',
        );
      }
      if (status !== 0) throw failed('nvrtcCompileProgram', status);
      return this.bytes(program, `nvrtcGet${code}Size`, `nvrtcGet${code}`);
    } finally {
      this.call('nvrtcDestroyProgram', new BigUint64Array([program]));
    }
  }

  private bytes(program: bigint, size: NvrtcFunction, get: NvrtcFunction): Uint8Array {
    const out = new BigUint64Array(1);
    this.call(size, program, out);
    const bytes = new Uint8Array(Number(out[0]));
    this.call(get, program, bytes);
    return bytes;
  }

  /** Its last byte is a zero. */
  private text(program: bigint, size: NvrtcFunction, get: NvrtcFunction): string {
    return Buffer.from(this.bytes(program, size, get))
      .toString('utf8')
      .replace(/\0.*$/s, '')
      .trim();
  }

  private call(name: NvrtcFunction, ...args: unknown[]): void {
    const status: number = this.functions[name](...args);
    if (status !== 0) throw failed(name, status);
  }
}

function failed(name: NvrtcFunction, status: number): Refusal {
  return new Refusal(
    `CUDA's run-time compiler failed: ${name} returned nvrtcResult ${status}.`,
    NVRTC.remedy,
    'cuda/compiler-failed',
  );
}

/** @param newest see findLibrary; @throws Refusal if there is none */
export function openNvrtc(koffi: Native, where: readonly LibraryPlace[], newest?: number): Nvrtc {
  const { library, path } = findLibrary(NVRTC, where, (file) => koffi.load(file), newest);
  return new Nvrtc(koffi, library, path);
}

/** Everything that determines the compiled kernels. */
interface CubinKey {
  readonly source: string;
  readonly options: readonly string[];
  /** NVRTC's version, `12.9`. */
  readonly compiler: string;
  /** The CUDA version supported by the driver, in its own numbering. */
  readonly driver: number;
}

const DIGEST = 32;

/**
 * Compiled kernels on disk, so that a run starts without compiling. A file is the SHA-256 of the code, then the code.
 */
export class CubinCache {
  /** @param directory undefined: no cache */
  constructor(readonly directory: string | undefined) {}

  /** The compiled kernels; null if there are none, or the file is incomplete. */
  async read(key: CubinKey): Promise<Uint8Array | null> {
    if (this.directory === undefined) return null;
    const bytes = await readFile(this.path(this.directory, key)).catch(() => null);
    if (bytes === null || bytes.length <= DIGEST) return null;
    const code = bytes.subarray(DIGEST);
    return digest(code).equals(bytes.subarray(0, DIGEST)) ? code : null;
  }

  /** If the directory cannot be written, the next run compiles again; this one is not affected. */
  async write(key: CubinKey, code: Uint8Array): Promise<void> {
    if (this.directory === undefined) return;
    try {
      await makeDirectory(this.directory);
      await writeAside(this.path(this.directory, key), Buffer.concat([digest(code), code]));
    } catch {
      return;
    }
  }

  private path(directory: string, { source, options, compiler, driver }: CubinKey): string {
    const name = createHash('sha256')
      .update(JSON.stringify([source, options, compiler, driver]))
      .digest('hex');
    return join(directory, `${name}.cubin`);
  }
}

function digest(bytes: Uint8Array): Buffer {
  return createHash('sha256').update(bytes).digest();
}

/** The cache at its default location (cudaCacheDirectory). */
export function cubinCache(environment: Readonly<Record<string, string | undefined>> = process.env): CubinCache {
  return new CubinCache(cudaCacheDirectory(environment));
}

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

  /** @throws Refusal if the library lacks a function, or has too little memory */
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
   * column-major: Cᵀ [n × m] = op(B)ᵀ op(A)ᵀ, without moving anything. B [k × n] as stored is Bᵀ; B stored as [n × k]
   * is Bᵀ's transpose, and so it is with A.
   */
  multiply(product: Product): void {
    const { m, n, k, a, b, c, transposedA = false, transposedB, strideC, precision } = product;
    const [widthA, widthB] = [transposedA ? m : k, transposedB ? k : n];
    const { strideA = widthA, strideB = widthB, accumulate = false } = product;
    for (const size of [m, n, k, strideA, strideB, strideC]) {
      if (!Number.isInteger(size) || size < 1 || size > INT_MAX) throw new RangeError(`${size} is not a matrix size`);
    }
    for (const [width, stride] of [
      [widthA, strideA],
      [widthB, strideB],
      [n, strideC],
    ] as const) {
      if (stride < width) throw new RangeError(`rows of ${width} do not fit a stride of ${stride}`);
    }
    const { operands, compute } = TYPES[precision];
    const operation = (transposed: boolean) => (transposed ? OP_T : OP_N);
    this.call(
      'cublasGemmEx',
      ...[this.handle, operation(transposedB), operation(transposedA), n, m, k, this.one],
      ...[b, operands, strideB, a, operands, strideA],
      ...[accumulate ? this.one : this.zero, c, CUDA_R_32F, strideC, compute, GEMM_DEFAULT],
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
        'Use a smaller --batch or --d-sae, or stop other programs on the GPU.',
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
        : 'Resume from the last checkpoint with --resume.';
    throw new Refusal(`cuBLAS (${this.path}) failed: ${name} returned ${said}.`, remedy, 'cuda/cublas-failed');
  }
}

/** @param newest see findLibrary; @throws Refusal if there is none */
export function openCublas(koffi: Native, where: readonly LibraryPlace[], stream: bigint, newest?: number): Cublas {
  const load = (path: string) => {
    // Its companion library, for which the loader would search only its own directories.
    const half = path.replace('libcublas.so', 'libcublasLt.so');
    if (existsSync(half)) koffi.load(half);
    return koffi.load(path);
  };
  const { library, path } = findLibrary(CUBLAS, where, load, newest);
  return new Cublas(library, path, stream);
}
