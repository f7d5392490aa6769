import { Refusal } from '../../../errors/refusal.js';
import { type CubinCache, cubinCache } from './cubin-cache.js';
import { type Cublas, openCublas } from './cublas.js';
import type { CudaDevice, DevicePointer, HostBuffer, Kernels, Moment, Product } from './device.js';
import { DeviceMemory, PinnedMemory } from './device-memory.js';
import { type Driver, openDriver } from './driver.js';
import { KernelModule } from './kernel-module.js';
import { LaunchArguments } from './launch-arguments.js';
import { places } from './libraries.js';
import { Moments } from './moments.js';
import { type Native, native } from './native.js';
import { type Nvrtc, openNvrtc, type Target, targetOf } from './nvrtc.js';

/** CUdevice_attribute: the compute capability's two numbers. */
const [CAPABILITY_MAJOR, CAPABILITY_MINOR] = [75, 76];
/** Its order is its own: it does not wait for the stream 0 that other libraries of the process may use. */
const STREAM_NON_BLOCKING = 1;
const NAME_LENGTH = 256;

/** What the libraries are, for whoever tells the user. */
export interface CudaVersions {
  /** CUDA's version that the driver serves, `13.0`. */
  readonly driver: string;
  /** NVRTC's, `12.9`. */
  readonly compiler: string;
  /** The card's compute capability, `9.0`. */
  readonly capability: string;
  /** Files that were loaded, by path, or by name where the loader found them. */
  readonly libraries: readonly string[];
}

/**
 * Opens a GPU by its number as the driver counts (CUDA_VISIBLE_DEVICES applies).
 *
 * @throws Refusal when the driver, NVRTC, cuBLAS or the GPU is missing, with what to do about it
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
      'Say --device cuda:N with another N, or look at CUDA_VISIBLE_DEVICES.',
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
  readonly target: Target;
  /** The stream of the work. */
  readonly work: bigint;
  /** The stream of copies beside it. */
  readonly uploads: bigint;
}

/** A GPU in use by this process. */
class OpenDevice implements CudaDevice {
  readonly name: string;
  readonly versions: CudaVersions;
  private readonly held: DeviceMemory;
  private readonly moments: Moments;
  private readonly packer: LaunchArguments;
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
    this.moments = new Moments(driver);
    this.packer = new LaunchArguments(koffi);
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

  upload(to: DevicePointer, from: HostBuffer, bytes: number, since?: Moment): Moment {
    this.mustBeOpen();
    const { uploads } = this.opened;
    if (since !== undefined) this.moments.wait(uploads, since);
    this.driver.call('cuMemcpyHtoDAsync_v2', to, addressOf(from, bytes), bytes, uploads);
    return this.moments.record(uploads);
  }

  download(to: HostBuffer, from: DevicePointer, bytes: number): void {
    this.mustBeOpen();
    this.driver.call('cuMemcpyDtoHAsync_v2', addressOf(to, bytes), from, bytes, this.opened.work);
  }

  copy(to: DevicePointer, from: DevicePointer, bytes: number): void {
    this.mustBeOpen();
    this.driver.call('cuMemcpyDtoDAsync_v2', to, from, bytes, this.opened.work);
  }

  mark(): Moment {
    this.mustBeOpen();
    return this.moments.record(this.opened.work);
  }

  waitFor(moment: Moment): void {
    this.mustBeOpen();
    this.moments.wait(this.opened.work, moment);
  }

  async compile(source: string): Promise<Kernels> {
    this.mustBeOpen();
    const { target, version } = this.opened;
    const key = { source, options: target.options, compiler: this.nvrtc.version, driver: version };
    const cached = await this.cache.read(key);
    if (cached !== null) {
      try {
        return this.load(cached);
      } catch (error) {
        if (this.driver.lost) throw error;
        // A whole file that the driver does not take is made again. If the driver is what is wrong, it says so again.
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
   * Waits for the work, gives back all that is held, and closes; a second call does nothing.
   *
   * @throws Refusal of the first thing that failed, after everything was tried, unless the GPU was lost and a call
   * before has said so
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
    this.moments.close((event) => run(() => driver.call('cuEventDestroy_v2', event)));
    this.held.close(run);
    for (const stream of [uploads, work]) run(() => driver.call('cuStreamDestroy_v2', stream));
    driver.use(null);
    run(() => driver.call('cuDevicePrimaryCtxRelease_v2', device));
    if (failures.length > 0 && !said) throw failures[0];
  }

  private load(code: Uint8Array): KernelModule {
    this.mustBeOpen();
    const module = new KernelModule(this.driver, this.packer, this.opened.work, code, (gone) =>
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

/** @throws RangeError when the buffer is shorter than the copy */
function addressOf(buffer: HostBuffer, bytes: number): bigint {
  if (!(buffer instanceof PinnedMemory)) throw new TypeError('a buffer of another device');
  if (bytes > buffer.bytes.byteLength) {
    throw new RangeError(`a copy of ${bytes} bytes does not fit a buffer of ${buffer.bytes.byteLength}`);
  }
  return buffer.address;
}
