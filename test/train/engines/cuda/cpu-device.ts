import type {
  CompiledKernels,
  CudaDevice,
  DeviceEvent,
  DevicePointer,
  HostBuffer,
  Product,
} from '../../../../src/train/engines/cuda/device.js';
import type { KernelName } from '../../../../src/train/engines/cuda/kernels/arguments.js';
import { kernelLibrary, type Library, memoryLibrary } from './compiler.js';

/** In which order threads and blocks take turns; kernels without races give the same bits in each. */
export type Order = 'forwards' | 'backwards' | 'shuffled';
const ORDERS: readonly Order[] = ['forwards', 'backwards', 'shuffled'];
const PRECISIONS = ['float32', 'tf32', 'bfloat16'] as const;

export interface CpuDeviceOptions {
  readonly order?: Order;
  /** When uploads happen: as soon as they may, or not before they are waited for. */
  readonly uploads?: 'early' | 'late';
  readonly bytes?: number;
}

class Point implements DeviceEvent {
  passed = false;
  /** Brings it about. */
  constructor(
    private readonly pass: () => void,
    readonly check: () => void,
  ) {}

  reached = async (): Promise<void> => {
    // A result is visible only after the device has had time.
    await new Promise((resolve) => setImmediate(resolve));
    this.pass();
    this.check();
  };
}

/**
 * A CudaDevice on the CPU that runs the kernels' own text (shim/). It is as unhelpful as a device may be: work is done
 * only when an event is waited for, memory begins as NaN, and touching another's memory is an error.
 */
export class CpuDevice implements CudaDevice {
  readonly name = 'a processor in place of a GPU';
  /** CompiledKernels launched, by name. */
  readonly launches = new Map<string, number>();
  readonly products: Product[] = [];
  private readonly arrays = new Map<DevicePointer, number>();
  private readonly queue: (() => void)[] = [];
  /** Uploads not yet made. */
  private readonly uploads = new Map<Point, () => void>();
  private hostBuffers = 0;
  private seed = 1;
  private closed = false;

  private constructor(
    private readonly library: Library,
    private readonly options: CpuDeviceOptions,
  ) {}

  static async open(options: CpuDeviceOptions = {}): Promise<CpuDevice> {
    return new CpuDevice(await memoryLibrary(), options);
  }

  /** What was allocated and not yet freed, bytes. */
  get used(): number {
    return [...this.arrays.values()].reduce((sum, bytes) => sum + bytes, 0);
  }

  get buffers(): number {
    return this.hostBuffers;
  }

  get isClosed(): boolean {
    return this.closed;
  }

  memory() {
    const total = this.options.bytes ?? 2 ** 30;
    return { free: total - this.used, total };
  }

  allocate(bytes: number): DevicePointer {
    const pointer = BigInt(this.call('uint64_t allocate_guarded(uint64_t)', bytes) as number);
    if (pointer === 0n) throw new Error(`no ${bytes} bytes`);
    this.arrays.set(pointer, bytes);
    return pointer;
  }

  free(pointer: DevicePointer): void {
    const bytes = this.arrays.get(pointer);
    if (bytes === undefined) throw new Error('freed what was not allocated');
    // As the driver does: whatever is under way may still use it.
    this.finish();
    this.checkGuards('free');
    this.call('void free_guarded(uint64_t, uint64_t)', pointer, bytes);
    this.arrays.delete(pointer);
  }

  clear(pointer: DevicePointer, bytes: number): void {
    this.inBounds(pointer, bytes);
    this.queue.push(() => this.call('void clear_bytes(uint64_t, uint64_t)', pointer, bytes));
  }

  allocateHost(bytes: number): HostBuffer {
    this.hostBuffers++;
    const buffer = new ArrayBuffer(bytes);
    new Uint8Array(buffer).fill(0xff);
    return { bytes: buffer, free: () => void this.hostBuffers-- };
  }

  upload(to: DevicePointer, from: HostBuffer, bytes: number, since?: DeviceEvent): DeviceEvent {
    this.inBounds(to, bytes);
    const point: Point = new Point(
      () => this.complete(point),
      () => {},
    );
    this.uploads.set(point, () => {
      if (since) this.finishUntil(since as Point);
      this.call('void copy_in(uint64_t, const uint8_t *, uint64_t)', to, new Uint8Array(from.bytes), bytes);
    });
    if (this.options.uploads !== 'late' && !since) this.complete(point);
    return point;
  }

  download(to: HostBuffer, from: DevicePointer, bytes: number): void {
    this.inBounds(from, bytes);
    this.queue.push(() => {
      this.call('void copy_out(uint8_t *, uint64_t, uint64_t)', new Uint8Array(to.bytes), from, bytes);
    });
  }

  copy(to: DevicePointer, from: DevicePointer, bytes: number): void {
    this.inBounds(to, bytes);
    this.inBounds(from, bytes);
    this.queue.push(() => this.call('void copy_bytes(uint64_t, uint64_t, uint64_t)', to, from, bytes));
  }

  mark(): DeviceEvent {
    const point = new Point(
      () => this.finishUntil(point),
      () => this.checkGuards('mark'),
    );
    this.queue.push(() => {
      point.passed = true;
    });
    return point;
  }

  waitFor(moment: DeviceEvent): void {
    this.queue.push(() => this.complete(moment as Point));
  }

  /** @param only kernels that are launched, if not all are */
  async compile(source: string, only?: readonly KernelName[]): Promise<CompiledKernels> {
    const library = await kernelLibrary(source, only);
    const kernels = new Map<string, (...args: unknown[]) => string | null>();
    const find = (name: string) => {
      const type = `const char *launch_${name}(int, int, int, int, uint32_t, const uint8_t *, int)`;
      if (!kernels.has(name)) kernels.set(name, library.func(type) as (...args: unknown[]) => string | null);
      return kernels.get(name)!;
    };
    return {
      launch: (name, blocks, threads, argument) => {
        const kernel = find(name);
        const [x, y] = typeof blocks === 'number' ? [blocks, 1] : blocks;
        this.launches.set(name, (this.launches.get(name) ?? 0) + 1);
        const bytes = argument.slice();
        this.queue.push(() => {
          const order = ORDERS.indexOf(this.options.order ?? 'forwards');
          const wrong = kernel(x, y, threads, order, this.seed++, bytes, bytes.length);
          if (wrong) throw new Error(`${name}: ${wrong}`);
          this.checkGuards(name);
        });
      },
      unload: () => {},
    };
  }

  multiply(product: Product): void {
    const { m, n, k, a, b, transposedA = false, transposedB, c, strideC, accumulate = false, precision } = product;
    this.products.push(product);
    const size = precision === 'bfloat16' ? 2 : 4;
    const { strideA = transposedA ? m : k, strideB = transposedB ? k : n } = product;
    const bytes = (rows: number, width: number, stride: number) => size * ((rows - 1) * stride + width);
    this.inBounds(a, transposedA ? bytes(k, m, strideA) : bytes(m, k, strideA));
    this.inBounds(b, transposedB ? bytes(n, k, strideB) : bytes(k, n, strideB));
    this.inBounds(c, 4 * ((m - 1) * strideC + n));
    const type = 'void multiply(int, int, int, uint64_t, int, int, uint64_t, int, int, uint64_t, int, int, int)';
    const [left, right] = [
      [a, strideA, Number(transposedA)],
      [b, strideB, Number(transposedB)],
    ] as const;
    const last = [c, strideC, Number(accumulate), PRECISIONS.indexOf(precision)];
    this.queue.push(() => this.call(type, m, n, k, ...left, ...right, ...last));
  }

  close(): void {
    this.queue.length = 0;
    for (const [pointer, bytes] of this.arrays) this.call('void free_guarded(uint64_t, uint64_t)', pointer, bytes);
    this.arrays.clear();
    this.closed = true;
  }

  private finish(): void {
    while (this.queue.length > 0) this.queue.shift()!();
  }

  private finishUntil(point: Point): void {
    while (!point.passed && this.queue.length > 0) this.queue.shift()!();
    if (!point.passed) throw new Error('a moment that cannot come');
  }

  private complete(upload: Point): void {
    const make = this.uploads.get(upload);
    this.uploads.delete(upload);
    make?.();
    upload.passed = true;
  }

  private inBounds(pointer: DevicePointer, bytes: number): void {
    for (const [first, size] of this.arrays) {
      if (pointer >= first && pointer + BigInt(bytes) <= first + BigInt(size)) return;
    }
    throw new Error(`${bytes} bytes at ${pointer} are in no array`);
  }

  private checkGuards(after: string): void {
    for (const [pointer, bytes] of this.arrays) {
      if (this.call('int guards_hold(uint64_t, uint64_t)', pointer, bytes)) continue;
      throw new Error(`${after} wrote beyond an array of ${bytes} bytes`);
    }
  }

  private readonly functions = new Map<string, (...args: unknown[]) => unknown>();

  private call(type: string, ...args: unknown[]): unknown {
    if (this.closed) throw new Error('the device is closed');
    let found = this.functions.get(type);
    if (!found) {
      found = this.library.func(type) as (...args: unknown[]) => unknown;
      this.functions.set(type, found);
    }
    return found(...args);
  }
}
