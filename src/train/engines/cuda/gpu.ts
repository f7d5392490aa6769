/** A GPU in use by this process: memory, events, kernels and products through the driver, NVRTC and cuBLAS. */
import { setTimeout as later, setImmediate as nextTurn } from 'node:timers/promises';
import { formatBytes } from '../../../disk/space.js';
import { Refusal } from '../../../errors/refusal.js';
import { CUBLAS, DRIVER, findLibrary, type Library, NVRTC, places } from '../../../machine/cuda-libraries.js';
import type { CompiledKernels, CudaDevice, DeviceEvent, DevicePointer, HostBuffer, Product } from './device.js';
import { type Driver, INVALID_VALUE, NOT_FOUND, OUT_OF_MEMORY, openDriver, SUCCESS } from './driver.js';
import { type Native, native } from './native.js';
import {
  type CompileTarget,
  type CubinCache,
  type Cublas,
  cubinCache,
  type Nvrtc,
  openCublas,
  openNvrtc,
  targetOf,
} from './toolkit.js';

/** CUdevice_attribute: the compute capability's two numbers. */
const [CAPABILITY_MAJOR, CAPABILITY_MINOR] = [75, 76];
/** Not ordered with stream 0, which other libraries of the process may use. */
const STREAM_NON_BLOCKING = 1;
const NAME_LENGTH = 256;

/** Versions of the libraries, for messages. */
export interface CudaVersions {
  /** The CUDA version supported by the driver, `13.0`. */
  readonly driver: string;
  /** NVRTC's version, `12.9`. */
  readonly compiler: string;
  /** The card's compute capability, `9.0`. */
  readonly capability: string;
  /** Loaded files, by path, or by name if found by the loader. */
  readonly libraries: readonly string[];
}

/**
 * Opens a GPU by the driver's numbering (CUDA_VISIBLE_DEVICES applies).
 *
 * @throws Refusal if the driver, NVRTC, cuBLAS or the GPU is missing, with the remedy
 */
export async function openCudaDevice(ordinal: number): Promise<OpenDevice> {
  if (process.platform !== 'linux') {
    throw new Refusal(
      `The CUDA engine runs on Linux, not on ${process.platform}.`,
      'Use --engine sparse.',
      'cuda/not-linux',
    );
  }
  const koffi = await native();
  const where = places();
  const driver = openDriver(koffi, where);
  const count = driver.number('cuDeviceGetCount');
  if (!Number.isInteger(ordinal) || ordinal < 0 || ordinal >= count) {
    throw new Refusal(
      `There is no GPU ${ordinal}: the driver counts ${count}, from 0.`,
      'Use --device cuda:N with another N, or check CUDA_VISIBLE_DEVICES.',
      'cuda/no-gpu',
    );
  }
  const version = driver.number('cuDriverGetVersion');
  const newest = Math.floor(version / 1000);
  const nvrtc = openNvrtc(koffi, where, newest);
  const device = driver.number('cuDeviceGet', ordinal);
  const [major, minor] = [CAPABILITY_MAJOR, CAPABILITY_MINOR].map((attribute) =>
    driver.number('cuDeviceGetAttribute', attribute, device),
  );
  const target = targetOf(10 * major! + minor!, nvrtc.architectures, nvrtc.version);
  const name = Buffer.alloc(NAME_LENGTH);
  driver.call('cuDeviceGetName', name, NAME_LENGTH, device);

  driver.use(driver.made('cuDevicePrimaryCtxRetain', device));
  const streams: bigint[] = [];
  try {
    for (let i = 0; i < 2; i++) streams.push(driver.made('cuStreamCreate', STREAM_NON_BLOCKING));
    const [work, uploads] = streams as [bigint, bigint];
    const cublas = openCublas(koffi, where, work, newest);
    const versions: CudaVersions = {
      driver: `${newest}.${Math.floor((version % 1000) / 10)}`,
      compiler: nvrtc.version,
      capability: `${major}.${minor}`,
      libraries: [driver.path, nvrtc.path, cublas.path],
    };
    const card = { device, version, target, name: name.toString('utf8').replace(/\0.*$/s, ''), versions };
    return new OpenDevice(koffi, driver, nvrtc, cublas, cubinCache(), { ...card, work, uploads });
  } catch (error) {
    for (const stream of streams) driver.answer('cuStreamDestroy_v2', stream);
    driver.use(null);
    driver.answer('cuDevicePrimaryCtxRelease_v2', device);
    throw error;
  }
}

interface Opened {
  readonly name: string;
  readonly versions: CudaVersions;
  readonly device: number;
  /** The driver's. */
  readonly version: number;
  readonly target: CompileTarget;
  /** The stream of the work. */
  readonly work: bigint;
  /** The stream of uploads, alongside the work. */
  readonly uploads: bigint;
}

/** A GPU in use by this process. */
class OpenDevice implements CudaDevice {
  readonly name: string;
  readonly versions: CudaVersions;
  private readonly held: DeviceMemory;
  private readonly events: EventPool;
  private readonly argument: LaunchArgument;
  private readonly modules = new Set<KernelModule>();
  private closed = false;

  constructor(
    koffi: Native,
    private readonly driver: Driver,
    private readonly nvrtc: Nvrtc,
    private readonly cublas: Cublas,
    private readonly cache: CubinCache,
    private readonly opened: Opened,
  ) {
    this.name = opened.name;
    this.versions = opened.versions;
    this.held = new DeviceMemory(koffi, driver, this.name);
    this.events = new EventPool(driver);
    this.argument = new LaunchArgument(koffi);
  }

  memory(): { readonly free: number; readonly total: number } {
    this.mustBeOpen();
    return this.held.now();
  }

  allocate(bytes: number): DevicePointer {
    this.mustBeOpen();
    return this.held.allocate(bytes);
  }

  free(pointer: DevicePointer): void {
    this.mustBeOpen();
    this.held.free(pointer);
  }

  clear(pointer: DevicePointer, bytes: number): void {
    this.mustBeOpen();
    this.driver.call('cuMemsetD8Async', pointer, 0, bytes, this.opened.work);
  }

  allocateHost(bytes: number): HostBuffer {
    this.mustBeOpen();
    return this.held.allocateHost(bytes);
  }

  upload(to: DevicePointer, from: HostBuffer, bytes: number, since?: DeviceEvent): DeviceEvent {
    this.mustBeOpen();
    const { uploads } = this.opened;
    if (since !== undefined) this.events.wait(uploads, since);
    this.driver.call('cuMemcpyHtoDAsync_v2', to, addressOf(from, bytes), bytes, uploads);
    return this.events.record(uploads);
  }

  download(to: HostBuffer, from: DevicePointer, bytes: number): void {
    this.mustBeOpen();
    this.driver.call('cuMemcpyDtoHAsync_v2', addressOf(to, bytes), from, bytes, this.opened.work);
  }

  copy(to: DevicePointer, from: DevicePointer, bytes: number): void {
    this.mustBeOpen();
    this.driver.call('cuMemcpyDtoDAsync_v2', to, from, bytes, this.opened.work);
  }

  mark(): DeviceEvent {
    this.mustBeOpen();
    return this.events.record(this.opened.work);
  }

  waitFor(event: DeviceEvent): void {
    this.mustBeOpen();
    this.events.wait(this.opened.work, event);
  }

  async compile(source: string): Promise<CompiledKernels> {
    this.mustBeOpen();
    const { target, version } = this.opened;
    const key = { source, options: target.options, compiler: this.nvrtc.version, driver: version };
    const cached = await this.cache.read(key);
    if (cached !== null) {
      try {
        return this.load(cached);
      } catch (error) {
        if (this.driver.lost) throw error;
        // A complete file that the driver rejects is compiled again. If the driver is the problem, it rejects that too.
      }
    }
    const code = await this.nvrtc.compile(source, target);
    const kernels = this.load(code);
    await this.cache.write(key, code);
    return kernels;
  }

  multiply(product: Product): void {
    this.mustBeOpen();
    this.driver.enter();
    this.cublas.multiply(product);
  }

  /**
   * Waits for the work, frees everything, and closes; a second call does nothing.
   *
   * @throws Refusal for the first failure, after trying everything, unless the GPU was lost and an earlier call
   * has reported that
   */
  close(): void {
    if (this.closed) return;
    this.closed = true;
    const { driver } = this;
    const said = driver.lost;
    const failures: unknown[] = [];
    const run = (release: () => void) => {
      try {
        release();
      } catch (error) {
        failures.push(error);
      }
    };
    const { device, work, uploads } = this.opened;
    for (const stream of [uploads, work]) run(() => driver.call('cuStreamSynchronize', stream));
    run(() => {
      driver.enter();
      this.cublas.close();
    });
    for (const module of [...this.modules]) run(() => module.unload());
    this.events.close((handle) => run(() => driver.call('cuEventDestroy_v2', handle)));
    this.held.close(run);
    for (const stream of [uploads, work]) run(() => driver.call('cuStreamDestroy_v2', stream));
    driver.use(null);
    run(() => driver.call('cuDevicePrimaryCtxRelease_v2', device));
    if (failures.length > 0 && !said) throw failures[0];
  }

  private load(code: Uint8Array): KernelModule {
    this.mustBeOpen();
    const module = new KernelModule(this.driver, this.argument, this.opened.work, code, (gone) =>
      this.modules.delete(gone),
    );
    this.modules.add(module);
    return module;
  }

  private mustBeOpen(): void {
    if (this.closed) throw new Error('the CUDA device is closed');
  }
}

export type { OpenDevice };

/** @throws RangeError if the buffer is shorter than the copy */
function addressOf(buffer: HostBuffer, bytes: number): bigint {
  if (!(buffer instanceof PinnedMemory)) throw new TypeError('a buffer of another device');
  if (bytes > buffer.bytes.byteLength) {
    throw new RangeError(`a copy of ${bytes} bytes does not fit a buffer of ${buffer.bytes.byteLength}`);
  }
  return buffer.address;
}

/** Page-locked memory of the driver. Once it is freed, `bytes` must not be touched. */
class PinnedMemory implements HostBuffer {
  constructor(
    readonly address: bigint,
    readonly bytes: ArrayBuffer,
    readonly free: () => void,
  ) {}
}

/** Memory of the GPU, and page-locked memory of the host; tracks allocations. */
class DeviceMemory {
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

  /** @throws Refusal with the sizes if there is not enough */
  allocate(bytes: number): DevicePointer {
    const pointer = this.asked('cuMemAlloc_v2', [bytes], () => {
      const { free, total } = this.now();
      return new Refusal(
        `The memory of ${this.name} is too small: ${formatBytes(bytes)} more are needed, but only ${formatBytes(free)} of ${formatBytes(total)} are free.`,
        'Use a smaller --batch or --d-sae, stop other programs on the GPU, or use a larger one.',
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

  /** @throws Refusal if the system provides no more page-locked memory */
  allocateHost(bytes: number): PinnedMemory {
    const address = this.asked('cuMemHostAlloc', [bytes, 0], () => {
      return new Refusal(
        `The system cannot provide ${formatBytes(bytes)} of page-locked memory for copies to the GPU.`,
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

  /** Frees all allocations, each through `run`. */
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

/** CU_EVENT_DISABLE_TIMING: their times are never read, and recording is cheaper. */
const WITHOUT_TIMING = 2;
/** Milliseconds during which a wait polls on every turn of the event loop; afterwards it polls once per millisecond. */
const EAGER = 20;

class RecordedEvent implements DeviceEvent {
  /** The driver's event, until it is known to be reached. */
  handle: bigint | null;

  constructor(
    handle: bigint,
    readonly reached: () => Promise<void>,
  ) {
    this.handle = handle;
  }
}

/** Events of a device, each recorded once in a stream; handles of reached events are reused. */
class EventPool {
  private readonly pending: RecordedEvent[] = [];
  private readonly spare: bigint[] = [];
  private closed = false;

  constructor(private readonly driver: Driver) {}

  /** An event after all work of the stream so far. */
  record(stream: bigint): DeviceEvent {
    this.sweep();
    const handle = this.spare.pop() ?? this.driver.made('cuEventCreate', WITHOUT_TIMING);
    try {
      this.driver.call('cuEventRecord', handle, stream);
    } catch (error) {
      this.spare.push(handle);
      throw error;
    }
    const event: RecordedEvent = new RecordedEvent(handle, () => this.reached(event));
    this.pending.push(event);
    return event;
  }

  /** Later work of the stream starts after the event. */
  wait(stream: bigint, event: DeviceEvent): void {
    const { handle } = own(event);
    if (handle !== null) this.driver.call('cuStreamWaitEvent', stream, handle, 0);
  }

  private async reached(event: RecordedEvent): Promise<void> {
    const begun = performance.now();
    while (!this.isOver(event)) {
      await (performance.now() - begun < EAGER ? nextTurn() : later(1));
    }
  }

  private isOver(event: RecordedEvent): boolean {
    if (event.handle === null) return true;
    if (this.closed) throw new Error('the device was closed while one of its events was waited for');
    if (!this.driver.reached(event.handle)) return false;
    this.spare.push(event.handle);
    event.handle = null;
    return true;
  }

  /** Reclaims the handles of the oldest reached events, so that their number is bounded by the work in flight. */
  private sweep(): void {
    while (this.pending.length > 0 && this.isOver(this.pending[0]!)) this.pending.shift();
  }

  /** @param destroy is called with each handle, once all work is done or lost */
  close(destroy: (handle: bigint) => void): void {
    this.closed = true;
    const waitedFor = this.pending.filter(({ handle }) => handle !== null);
    for (const handle of [...this.spare, ...waitedFor.map(({ handle }) => handle!)]) destroy(handle);
    this.spare.length = this.pending.length = 0;
  }
}

function own(event: DeviceEvent): RecordedEvent {
  if (event instanceof RecordedEvent) return event;
  throw new TypeError('an event of another device');
}

interface LoadedKernel {
  readonly handle: bigint;
  /** Bytes of its parameter; undefined if the driver does not provide it. */
  readonly argumentBytes: number | undefined;
}

/** CUDA's limit on the parameters of a kernel, in bytes. */
const MOST_ARGUMENT_BYTES = 4096;

/** The argument of one launch, as expected by cuLaunchKernel: a pointer to a pointer to its bytes. */
class LaunchArgument {
  // The driver copies them before a launch returns, so one buffer serves all launches.
  private readonly bytes = new Uint8Array(MOST_ARGUMENT_BYTES);
  private readonly pointers: BigUint64Array;

  constructor(koffi: Native) {
    this.pointers = BigUint64Array.of(koffi.address(this.bytes));
  }

  /** Valid until the next call. */
  put(argument: Uint8Array): BigUint64Array {
    this.bytes.set(argument);
    return this.pointers;
  }
}

/** Compiled kernels loaded into the GPU, started in one stream. */
class KernelModule implements CompiledKernels {
  private readonly kernels = new Map<string, LoadedKernel>();
  private readonly handle: bigint;

  /**
   * @param code a cubin, or PTX with its closing zero
   * @throws Refusal if the driver rejects it
   */
  constructor(
    private readonly driver: Driver,
    private readonly argument: LaunchArgument,
    private readonly stream: bigint,
    code: Uint8Array,
    private readonly unloaded: (module: KernelModule) => void,
  ) {
    this.handle = driver.made('cuModuleLoadData', code);
  }

  launch(name: string, blocks: number | readonly [number, number], threads: number, argument: Uint8Array): void {
    const { handle, argumentBytes } = this.kernels.get(name) ?? this.find(name);
    if (argumentBytes !== undefined && argumentBytes !== argument.length) {
      throw new TypeError(`kernel ${name} takes ${argumentBytes} bytes of arguments, and was given ${argument.length}`);
    }
    const [x, y] = typeof blocks === 'number' ? [blocks, 1] : blocks;
    const shape = [x, y, 1, threads, 1, 1, 0];
    const code = this.driver.answer('cuLaunchKernel', handle, ...shape, this.stream, this.argument.put(argument), null);
    if (code !== SUCCESS) {
      throw this.driver.refusal(`kernel ${name} of ${x} × ${y} blocks of ${threads} threads`, code);
    }
  }

  unload(): void {
    this.unloaded(this);
    this.driver.call('cuModuleUnload', this.handle);
  }

  private find(name: string): LoadedKernel {
    const out = new BigUint64Array(1);
    const code = this.driver.answer('cuModuleGetFunction', out, this.handle, name);
    if (code === NOT_FOUND) throw new TypeError(`there is no kernel ${name}`);
    if (code !== SUCCESS) throw this.driver.refusal('cuModuleGetFunction', code);
    const kernel = { handle: out[0]!, argumentBytes: this.argumentBytesOf(name, out[0]!) };
    this.kernels.set(name, kernel);
    return kernel;
  }

  private argumentBytesOf(name: string, handle: bigint): number | undefined {
    if (!this.driver.has('cuFuncGetParamInfo')) return undefined;
    const [offset, size] = [new BigUint64Array(1), new BigUint64Array(1)];
    const first = this.driver.answer('cuFuncGetParamInfo', handle, 0, offset, size);
    if (first !== SUCCESS) throw this.driver.refusal('cuFuncGetParamInfo', first);
    const bytes = Number(size[0]);
    // Past the last parameter, the driver answers that the value is invalid.
    const second = this.driver.answer('cuFuncGetParamInfo', handle, 1, offset, size);
    if (second === SUCCESS) throw new TypeError(`kernel ${name} takes more than one argument`);
    if (second !== INVALID_VALUE) throw this.driver.refusal('cuFuncGetParamInfo', second);
    return bytes;
  }
}

/** Whether the CUDA engine's device works here. */
export interface CudaTrial {
  /** The GPU and the versions, if a kernel ran on it. */
  readonly gpu?: { readonly name: string; readonly versions: CudaVersions };
  /** Libraries that can be loaded, by path, or by name if found by the loader. */
  readonly found: readonly string[];
  /** Libraries that cannot, each with its file names. */
  readonly missing: readonly string[];
  /** The problem, and its remedy. */
  readonly reason?: string;
}

const ANSWER = 42;
const KERNEL = `extern "C" __global__ void answer(int *x) { *x = ${ANSWER}; }`;

/** Loads the libraries one by one, then has a GPU compute something. A driver may crash the process. */
export async function tryCudaDevice(ordinal: number): Promise<CudaTrial> {
  if (process.platform !== 'linux') {
    return { found: [], missing: [], reason: `the CUDA engine runs on Linux, not on ${process.platform}` };
  }
  const koffi = await native();
  const where = places();
  const [found, missing]: string[][] = [[], []];
  for (const library of [DRIVER, NVRTC, CUBLAS]) {
    try {
      found!.push(findLibrary(library, where, (path) => koffi.load(path)).path);
    } catch {
      missing!.push(described(library));
    }
  }
  try {
    return { found: found!, missing: missing!, gpu: await answered(ordinal) };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return { found: found!, missing: missing!, reason: [error.message, error.remedy].filter(Boolean).join(' ') };
  }
}

/** `cuBLAS (libcublas.so.13 or libcublas.so.12)` */
function described({ name, files }: Library): string {
  return `${name} (${files.join(' or ')})`;
}

async function answered(ordinal: number) {
  const device = await openCudaDevice(ordinal);
  try {
    const kernels = await device.compile(KERNEL);
    const [x, host] = [device.allocate(4), device.allocateHost(4)];
    kernels.launch('answer', 1, 1, new Uint8Array(BigUint64Array.of(x).buffer));
    device.download(host, x, 4);
    await device.mark().reached();
    const value = new Int32Array(host.bytes)[0];
    if (value !== ANSWER)
      throw new Refusal(
        `A kernel on ${device.name} wrote ${value}, not ${ANSWER}.`,
        'Try another GPU.',
        'cuda/wrong-answer',
      );
    return { name: device.name, versions: device.versions };
  } finally {
    device.close();
  }
}
