import { promisify } from 'node:util';
import { Refusal } from '../../../errors/refusal.js';
import { findLibrary, NVRTC, type Place } from './libraries.js';
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
export interface Target {
  readonly options: readonly string[];
  /** Machine code, or PTX, which the driver translates. */
  readonly code: 'CUBIN' | 'PTX';
}

/**
 * Machine code where the compiler knows the card, PTX of the nearest older architecture where the card is newer.
 *
 * @param architecture the card's compute capability, ten times the major version and the minor one
 * @param supported the compiler's
 * @throws Refusal when the card is too old
 */
export function targetOf(architecture: number, supported: readonly number[], compiler: string): Target {
  if (supported.includes(architecture)) return { options: [`--gpu-architecture=sm_${architecture}`], code: 'CUBIN' };
  const older = supported.filter((known) => known < architecture);
  if (older.length === 0) {
    throw new Refusal(
      `This GPU (compute capability ${(architecture / 10).toFixed(1)}) is too old for NVRTC ${compiler}, which begins at ${(Math.min(...supported) / 10).toFixed(1)}.`,
      'Put an older CUDA in SAE_PIPE_CUDA_LIBS (12 at the oldest), or use another GPU.',
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

  /** @throws Refusal when the library lacks a function */
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
   * Compiles on another thread; the event loop goes on.
   *
   * @throws Refusal with the compiler's words when the source does not compile
   */
  async compile(source: string, { options, code }: Target): Promise<Uint8Array> {
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
      // Until here the options are held by their addresses only.
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
    `CUDA's run-time compiler failed: ${name} answered nvrtcResult ${status}.`,
    NVRTC.remedy,
    'cuda/compiler-failed',
  );
}

/** @param newest see findLibrary; @throws Refusal when there is none */
export function openNvrtc(koffi: Native, where: readonly Place[], newest?: number): Nvrtc {
  const { library, path } = findLibrary(NVRTC, where, (file) => koffi.load(file), newest);
  return new Nvrtc(koffi, library, path);
}
