/** An address in the device's memory. */
export type DevicePointer = bigint;

/** Page-locked memory of the host: copies to and from it do not block the caller. */
export interface HostBuffer {
  /** The memory itself. Must not be touched during a copy from or to it. */
  readonly bytes: ArrayBuffer;
  free(): void;
}

/** A point in the order of the device's work; reached once everything before it is done. */
export interface DeviceEvent {
  readonly reached: () => Promise<void>;
}

/** Compiled kernels of one source text. */
export interface CompiledKernels {
  /**
   * Starts a kernel after all work requested before, and returns at once.
   *
   * @param name of an `extern "C" __global__` function
   * @param blocks in x, or in x and y
   * @param threads of a block, in x
   * @param argument the bytes of its only parameter
   */
  launch(name: string, blocks: number | readonly [number, number], threads: number, argument: Uint8Array): void;
  unload(): void;
}

/** How a product is computed; sums are float32 everywhere. */
export type ProductPrecision = 'float32' | 'tf32' | 'bfloat16';

/** C [m × n] = A [m × k] · B [k × n], all row-major, A and B as they are or transposed. */
export interface Product {
  readonly m: number;
  readonly n: number;
  readonly k: number;
  readonly a: DevicePointer;
  readonly b: DevicePointer;
  /** A is stored as [k × m]. */
  readonly transposedA?: boolean;
  /** B is stored as [n × k]. */
  readonly transposedB: boolean;
  readonly c: DevicePointer;
  /** Elements from one row to the next, of A and B as stored; their width if absent. */
  readonly strideA?: number;
  readonly strideB?: number;
  readonly strideC: number;
  /** The product is added to C. */
  readonly accumulate?: boolean;
  /** bfloat16: A and B are bfloat16; otherwise float32. C is float32. */
  readonly precision: ProductPrecision;
}

/**
 * What the engine needs from CUDA: memory, one stream of work, copies alongside, kernels and matrix products.
 * The real one calls the driver, NVRTC and cuBLAS; tests substitute one that runs the same kernels on the CPU.
 *
 * @throws Refusal from every call if the device is out of memory, or has failed
 */
export interface CudaDevice {
  readonly name: string;
  /** Bytes, as reported by the driver at present. */
  memory(): { readonly free: number; readonly total: number };
  allocate(bytes: number): DevicePointer;
  free(pointer: DevicePointer): void;
  /** Sets bytes to 0, in order with the other work. */
  clear(pointer: DevicePointer, bytes: number): void;
  allocateHost(bytes: number): HostBuffer;
  /** Copies to the device alongside its work, after `since` if given; work that reads it must `waitFor` the event. */
  upload(to: DevicePointer, from: HostBuffer, bytes: number, since?: DeviceEvent): DeviceEvent;
  /** Copies to the host, in order with the other work. */
  download(to: HostBuffer, from: DevicePointer, bytes: number): void;
  /** Copies within the device, in order with the other work. */
  copy(to: DevicePointer, from: DevicePointer, bytes: number): void;
  /** An event after all work requested so far. */
  mark(): DeviceEvent;
  /** Work requested later starts after the event. */
  waitFor(event: DeviceEvent): void;
  /** @param source CUDA C; @throws Refusal with the compiler's message if it does not compile */
  compile(source: string): Promise<CompiledKernels>;
  multiply(product: Product): void;
  close(): void;
}
