import { formatBytes } from '../../../disk/space.js';
import { Refusal } from '../../../errors/refusal.js';
import type { DevicePointer, HostBuffer } from './device.js';
import type { Driver } from './driver.js';
import { OUT_OF_MEMORY, SUCCESS } from './driver-failure.js';
import type { Native } from './native.js';

/** Page-locked memory of the driver. Once it is freed, `bytes` is no longer to be touched. */
export class PinnedMemory implements HostBuffer {
  constructor(
    readonly address: bigint,
    readonly bytes: ArrayBuffer,
    readonly free: () => void,
  ) {}
}

/** Memory of the GPU, and page-locked memory of the host; knows what is held. */
export class DeviceMemory {
  private readonly device = new Map<DevicePointer, number>();
  private readonly host = new Set<bigint>();

  constructor(
    private readonly koffi: Native,
    private readonly driver: Driver,
    private readonly name: string,
  ) {}

  now(): { readonly free: number; readonly total: number } {
    const [free, total] = [new BigUint64Array(1), new BigUint64Array(1)];
    this.driver.call('cuMemGetInfo_v2', free, total);
    return { free: Number(free[0]), total: Number(total[0]) };
  }

  /** @throws Refusal with the sizes when there is not enough */
  allocate(bytes: number): DevicePointer {
    const pointer = this.asked('cuMemAlloc_v2', [bytes], () => {
      const { free, total } = this.now();
      return new Refusal(
        `The memory of ${this.name} is too small: ${formatBytes(bytes)} more were asked for, and ${formatBytes(free)} of ${formatBytes(total)} are free.`,
        'Use a smaller --batch or --d-sae, stop what else runs on the GPU, or use a larger one.',
        'cuda/out-of-memory',
      );
    });
    this.device.set(pointer, bytes);
    return pointer;
  }

  free(pointer: DevicePointer): void {
    if (!this.device.delete(pointer)) throw new RangeError(`${pointer} was not allocated here, or is free already`);
    this.driver.call('cuMemFree_v2', pointer);
  }

  /** @throws Refusal when the system gives no more page-locked memory */
  allocateHost(bytes: number): PinnedMemory {
    const address = this.asked('cuMemHostAlloc', [bytes, 0], () => {
      return new Refusal(
        `The system gives no ${formatBytes(bytes)} of page-locked memory for copies to the GPU.`,
        'Free main memory, raise its limit for this process (ulimit -l, or the job), or use a smaller --batch.',
        'cuda/no-locked-memory',
      );
    });
    this.host.add(address);
    const free = () => {
      if (!this.host.delete(address)) throw new RangeError('this page-locked memory is free already');
      this.driver.call('cuMemFreeHost', address);
    };
    return new PinnedMemory(address, this.koffi.view(address, bytes), free);
  }

  /** Frees what is held, by way of `run`. */
  close(run: (release: () => void) => void): void {
    for (const pointer of this.device.keys()) run(() => this.driver.call('cuMemFree_v2', pointer));
    for (const address of this.host) run(() => this.driver.call('cuMemFreeHost', address));
    this.device.clear();
    this.host.clear();
  }

  private asked(
    name: 'cuMemAlloc_v2' | 'cuMemHostAlloc',
    sizes: readonly [bytes: number, flags?: number],
    tooLittle: () => Refusal,
  ): bigint {
    const [bytes] = sizes;
    if (!Number.isSafeInteger(bytes) || bytes < 1) throw new RangeError(`${bytes} bytes cannot be allocated`);
    const out = new BigUint64Array(1);
    const code = this.driver.answer(name, out, ...sizes.map(Number));
    if (code === OUT_OF_MEMORY) throw tooLittle();
    if (code !== SUCCESS) throw this.driver.refusal(name, code);
    return out[0]!;
  }
}
