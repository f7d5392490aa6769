import { Refusal } from '../../../errors/refusal.js';
import type { KernelArgument, Kernels } from './device.js';
import type { Driver } from './driver.js';
import { INVALID_VALUE, NOT_FOUND, SUCCESS } from './driver-failure.js';
import type { LaunchArguments } from './launch-arguments.js';

/** Shared memory that a block has without asking, static and dynamic together, bytes. */
const SHARED_WITHOUT_ASKING = 48 * 1024;
/** CUfunction_attribute */
const [STATIC_SHARED, MOST_DYNAMIC_SHARED] = [1, 8];

interface Kernel {
  readonly handle: bigint;
  readonly staticShared: number;
  /** Sizes of its parameters, bytes; undefined where the driver does not tell. */
  readonly parameters: readonly number[] | undefined;
  /** Dynamic shared memory that was asked for. */
  allowed: number;
}

/** Compiled kernels loaded into the GPU, started in one stream. */
export class KernelModule implements Kernels {
  private readonly kernels = new Map<string, Kernel>();
  private readonly handle: bigint;

  /**
   * @param code a cubin, or PTX with its closing zero
   * @throws Refusal when the driver does not take it
   */
  constructor(
    private readonly driver: Driver,
    private readonly packer: LaunchArguments,
    private readonly stream: bigint,
    code: Uint8Array,
    private readonly unloaded: (module: KernelModule) => void,
  ) {
    this.handle = driver.made('cuModuleLoadData', code);
  }

  launch(
    name: string,
    grid: number | readonly [number, number],
    block: number,
    args: readonly KernelArgument[],
    sharedBytes = 0,
  ): void {
    const kernel = this.kernels.get(name) ?? this.find(name);
    const { pointers, sizes } = this.packer.pack(args);
    const { parameters } = kernel;
    if (parameters !== undefined && (parameters.length !== sizes.length || parameters.some((p, i) => p !== sizes[i]))) {
      throw new TypeError(`kernel ${name} takes arguments of ${parameters} bytes, and was given ${sizes}`);
    }
    if (kernel.staticShared + sharedBytes > SHARED_WITHOUT_ASKING && sharedBytes > kernel.allowed) {
      const code = this.driver.answer('cuFuncSetAttribute', kernel.handle, MOST_DYNAMIC_SHARED, sharedBytes);
      if (code === INVALID_VALUE) {
        throw new Refusal(
          `Kernel ${name} needs ${kernel.staticShared + sharedBytes} bytes of shared memory a block, more than this GPU has.`,
          'Use a smaller SAE, another GPU, or another --engine.',
          'cuda/shared-memory',
        );
      }
      if (code !== SUCCESS) throw this.driver.refusal('cuFuncSetAttribute', code);
      kernel.allowed = sharedBytes;
    }
    const [x, y] = typeof grid === 'number' ? [grid, 1] : grid;
    const shape = [x, y, 1, block, 1, 1, sharedBytes];
    const code = this.driver.answer('cuLaunchKernel', kernel.handle, ...shape, this.stream, pointers, null);
    if (code !== SUCCESS) {
      throw this.driver.refusal(`kernel ${name} of ${x} × ${y} blocks of ${block} threads`, code);
    }
  }

  unload(): void {
    this.unloaded(this);
    this.driver.call('cuModuleUnload', this.handle);
  }

  private find(name: string): Kernel {
    const out = new BigUint64Array(1);
    const code = this.driver.answer('cuModuleGetFunction', out, this.handle, name);
    if (code === NOT_FOUND) throw new TypeError(`there is no kernel ${name}`);
    if (code !== SUCCESS) throw this.driver.refusal('cuModuleGetFunction', code);
    const handle = out[0]!;
    const staticShared = this.driver.number('cuFuncGetAttribute', STATIC_SHARED, handle);
    const kernel = { handle, staticShared, parameters: this.parametersOf(handle), allowed: 0 };
    this.kernels.set(name, kernel);
    return kernel;
  }

  /** Asked one by one: past the last, the driver answers that the value is invalid. */
  private parametersOf(handle: bigint): number[] | undefined {
    if (!this.driver.has('cuFuncGetParamInfo')) return undefined;
    const [offset, size] = [new BigUint64Array(1), new BigUint64Array(1)];
    const sizes: number[] = [];
    for (;;) {
      const code = this.driver.answer('cuFuncGetParamInfo', handle, sizes.length, offset, size);
      if (code === INVALID_VALUE) return sizes;
      if (code !== SUCCESS) throw this.driver.refusal('cuFuncGetParamInfo', code);
      sizes.push(Number(size[0]));
    }
  }
}
