/** NVIDIA's driver: its functions, with every status checked, and the meaning of its failures. */
import { Refusal } from '../../../errors/refusal.js';
import { DRIVER, findLibrary, type LibraryPlace } from '../../../machine/cuda-libraries.js';
import type { Native } from './native.js';

/** Handles (CUstream, CUmodule, …) and pointers to data. */
const POINTER = 'void *';
/** CUdeviceptr */
const ADDRESS = 'uint64_t';

/**
 * The parameters of the driver's functions as cuda.h declares them; each returns a CUresult, an int. Enumerations and
 * CUdevice are ints.
 */
export const DRIVER_FUNCTIONS = {
  cuInit: ['uint'],
  cuDriverGetVersion: [POINTER],
  cuGetErrorName: ['int', POINTER],
  cuGetErrorString: ['int', POINTER],
  cuDeviceGetCount: [POINTER],
  cuDeviceGet: [POINTER, 'int'],
  cuDeviceGetName: [POINTER, 'int', 'int'],
  cuDeviceGetAttribute: [POINTER, 'int', 'int'],
  cuDevicePrimaryCtxRetain: [POINTER, 'int'],
  cuDevicePrimaryCtxRelease_v2: ['int'],
  cuCtxSetCurrent: [POINTER],
  cuMemGetInfo_v2: [POINTER, POINTER],
  cuMemAlloc_v2: [POINTER, 'size_t'],
  cuMemFree_v2: [ADDRESS],
  cuMemHostAlloc: [POINTER, 'size_t', 'uint'],
  cuMemFreeHost: [POINTER],
  cuMemcpyHtoDAsync_v2: [ADDRESS, POINTER, 'size_t', POINTER],
  cuMemcpyDtoHAsync_v2: [POINTER, ADDRESS, 'size_t', POINTER],
  cuMemcpyDtoDAsync_v2: [ADDRESS, ADDRESS, 'size_t', POINTER],
  cuMemsetD8Async: [ADDRESS, 'uchar', 'size_t', POINTER],
  cuStreamCreate: [POINTER, 'uint'],
  cuStreamSynchronize: [POINTER],
  cuStreamWaitEvent: [POINTER, POINTER, 'uint'],
  cuStreamDestroy_v2: [POINTER],
  cuEventCreate: [POINTER, 'uint'],
  cuEventRecord: [POINTER, POINTER],
  cuEventQuery: [POINTER],
  cuEventDestroy_v2: [POINTER],
  cuModuleLoadData: [POINTER, POINTER],
  cuModuleGetFunction: [POINTER, POINTER, 'str'],
  cuModuleUnload: [POINTER],
  cuLaunchKernel: [POINTER, 'uint', 'uint', 'uint', 'uint', 'uint', 'uint', 'uint', POINTER, POINTER, POINTER],
} as const;

/** Drivers before CUDA 12.4 lack it. */
export const NEWER_FUNCTIONS = { cuFuncGetParamInfo: [POINTER, 'size_t', POINTER, POINTER] } as const;

type DriverFunction = keyof typeof DRIVER_FUNCTIONS | keyof typeof NEWER_FUNCTIONS;
/** Memory of JavaScript, a handle or address, a number, a name, or null. */
type DriverArgument = ArrayBufferView | bigint | number | string | null;

/** The driver's functions, each status checked. All are called from one thread. */
export class Driver {
  private readonly functions = new Map<DriverFunction, (...args: DriverArgument[]) => number>();
  private context: bigint | null = null;
  /** Has the GPU failed so that no further call can succeed? */
  lost = false;

  /**
   * @param path of libcuda.so.1, or its name
   * @throws Refusal if the library lacks a function
   */
  constructor(
    private readonly koffi: Native,
    library: ReturnType<Native['load']>,
    readonly path: string,
  ) {
    for (const [name, parameters] of Object.entries(DRIVER_FUNCTIONS)) {
      try {
        this.functions.set(name as DriverFunction, library.func(name, 'int', [...parameters]));
      } catch {
        throw new Refusal(
          `The driver's library ${path} has no ${name}: it is too old.`,
          DRIVER.remedy,
          'cuda/library-too-old',
        );
      }
    }
    try {
      this.functions.set(
        'cuFuncGetParamInfo',
        library.func('cuFuncGetParamInfo', 'int', [...NEWER_FUNCTIONS.cuFuncGetParamInfo]),
      );
    } catch {
      // Only used for a check that is skipped with older drivers.
    }
  }

  has(name: DriverFunction): boolean {
    return this.functions.has(name);
  }

  /**
   * All later calls are in this context. It is set again for each, because another library in this
   * process, such as ONNX Runtime, may have set a different one in between.
   */
  use(context: bigint | null): void {
    this.context = context;
  }

  /** Makes the context current, for calls of libraries that build on the driver. */
  enter(): void {
    if (this.context === null) return;
    const code = this.functions.get('cuCtxSetCurrent')!(this.context);
    if (code !== SUCCESS) throw this.refusal('cuCtxSetCurrent', code);
  }

  /** Calls the function and returns its status unchecked. */
  answer(name: DriverFunction, ...args: DriverArgument[]): number {
    this.enter();
    return this.functions.get(name)!(...args);
  }

  /** @throws Refusal unless the function succeeds */
  call(name: DriverFunction, ...args: DriverArgument[]): void {
    const code = this.answer(name, ...args);
    if (code !== SUCCESS) throw this.refusal(name, code);
  }

  /** Is the event reached? @throws Refusal if the work before it failed */
  reached(event: bigint): boolean {
    const code = this.answer('cuEventQuery', event);
    if (code !== SUCCESS && code !== NOT_READY) throw this.refusal('cuEventQuery', code);
    return code === SUCCESS;
  }

  /** The handle or address that a function writes first. @throws Refusal unless it succeeds */
  made(name: DriverFunction, ...args: DriverArgument[]): bigint {
    const out = new BigUint64Array(1);
    this.call(name, out, ...args);
    return out[0]!;
  }

  /** The int that a function writes first. @throws Refusal unless it succeeds */
  number(name: DriverFunction, ...args: DriverArgument[]): number {
    const out = new Int32Array(1);
    this.call(name, out, ...args);
    return out[0]!;
  }

  /** @param call the function, or its purpose */
  refusal(call: string, code: number): Refusal {
    const status = this.status(code);
    this.lost ||= isLost(status);
    return driverRefusal(call, status);
  }

  /** The driver's description of a status. */
  private status(code: number): DriverStatus {
    const words = (name: 'cuGetErrorName' | 'cuGetErrorString') => {
      const out = new BigUint64Array(1);
      const known = this.functions.get(name)!(code, out) === SUCCESS && out[0] !== 0n;
      return known ? this.koffi.decode.string(out[0]!) : undefined;
    };
    return { code, name: words('cuGetErrorName') ?? `status ${code}`, text: words('cuGetErrorString') ?? 'unknown' };
  }
}

/**
 * Loads the driver and starts it.
 *
 * @throws Refusal if there is none, or no GPU
 */
export function openDriver(koffi: Native, where: readonly LibraryPlace[]): Driver {
  const { library, path } = findLibrary(DRIVER, where, (file) => koffi.load(file));
  const driver = new Driver(koffi, library, path);
  driver.call('cuInit', 0);
  return driver;
}

/** Result of a driver function: a CUresult of cuda.h, its name, and the driver's description. */
interface DriverStatus {
  readonly code: number;
  readonly name: string;
  readonly text: string;
}

/** CUresults that callers distinguish. */
export const SUCCESS = 0;
export const INVALID_VALUE = 1;
export const OUT_OF_MEMORY = 2;
export const NOT_FOUND = 500;
const NOT_READY = 600;

/** After these the context cannot be used any more: the run is over. */
const LOST = new Set([46, 214, 220, 226, 700, 702, 709, 710, 714, 715, 716, 717, 718, 719, 721, 810, 999]);
/** The compiled kernels do not match the driver or the card. */
const UNSUITED = new Set([200, 209, 218, 221, 222, 223]);
/** The driver's library and its kernel module do not match each other or the card. */
const DRIVER_AMISS = new Set([3, 34, 36, 802, 803, 804]);

/** Did the GPU fail so that this process cannot use it again? */
function isLost({ code }: DriverStatus): boolean {
  return LOST.has(code);
}

/** @param call the function, or its purpose */
function driverRefusal(call: string, status: DriverStatus): Refusal {
  const said = `${status.name}: ${status.text}`;
  if (status.code === 100) {
    return new Refusal(
      `The driver finds no GPU (${said}).`,
      'Check nvidia-smi, CUDA_VISIBLE_DEVICES, and that a container has access to the GPU.',
      'cuda/no-gpu',
    );
  }
  if (isLost(status)) {
    return new Refusal(
      `The GPU failed at ${call} or in work before it (${said}).`,
      'Resume from the last checkpoint with --resume; dmesg shows the driver’s error under "Xid".',
      'cuda/gpu-failed',
    );
  }
  if (UNSUITED.has(status.code)) {
    return new Refusal(
      `The driver rejects the compiled kernels at ${call} (${said}).`,
      'Update the driver, or put a CUDA version that it supports (see nvidia-smi) in SAE_PIPE_CUDA_LIBS.',
      'cuda/kernels-refused',
    );
  }
  if (DRIVER_AMISS.has(status.code)) {
    return new Refusal(
      `The NVIDIA driver cannot be used: ${call} returned ${said}.`,
      'Reinstall the driver and reboot, or use another machine.',
      'cuda/driver-unusable',
    );
  }
  return new Refusal(
    `CUDA refused ${call} (${said}).`,
    'Use --engine sparse or reference, and report this.',
    'cuda/call-refused',
  );
}
