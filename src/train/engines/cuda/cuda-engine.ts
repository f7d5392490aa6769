/** The CUDA engine: the sparse engine's algorithm with everything on the device (docs/gpu.md, "The training engine"). */
import type { Batch } from '../../../activations/activation-source.js';
import type { ActivationArray } from '../../../activations/rows.js';
import { formatBytes } from '../../../disk/space.js';
import { Refusal } from '../../../errors/refusal.js';
import { PARAMETERS } from '../../../sae/registry.js';
import type { Sae } from '../../../sae/sae.js';
import type { Engine, EngineSettings, StepMetrics, StepSettings, TrainerState } from '../engine.js';
import { checkSizes, saeOf, stateShapes } from '../state.js';
import type { CompiledKernels, CudaDevice, DeviceEvent, DevicePointer, HostBuffer } from './device.js';
import { METRIC_SUMS } from './kernels/numbers.js';
import { kernelSource } from './kernels/source.js';
import { Launcher, type StepParts } from './launcher.js';
import {
  batchBytes,
  type CudaPlan,
  checkCounts,
  DeviceArrays,
  metricsBytes,
  PIECE_BYTES,
  type PlanOverrides,
  planCuda,
  shapeOnDevice,
} from './plan.js';
import { StepLauncher } from './step.js';

/** How work is cut: tests set these. */
export interface CudaOverrides extends PlanOverrides {
  /** Bytes of the state that cross to or from the device at a time. */
  readonly piece?: number;
}

/** What an engine works with. */
interface CudaRun extends StepParts {
  readonly kernels: CompiledKernels;
}

/**
 * It has never run on a GPU.
 *
 * @param start parameters, or a whole state to continue from; what is missing of the state begins at zero
 * @param steps steps already done
 * @param device is the engine's from here on, closed with it or when it cannot be opened
 * @throws Refusal where the device has too little memory
 */
export async function openCudaEngine(
  settings: EngineSettings,
  start: TrainerState,
  steps: number,
  device: CudaDevice,
  overrides: CudaOverrides = {},
): Promise<Engine> {
  try {
    checkSizes(start, settings, 'start');
    const plan = planCuda(settings, overrides);
    checkCounts(settings, plan);
    checkDeviceMemory(settings, plan, device);
    const kernels = await device.compile(kernelSource(settings, plan));
    const arrays = new DeviceArrays(device, plan);
    const run: CudaRun = { settings, plan, device, kernels, arrays, launcher: new Launcher(kernels, arrays) };
    const engine = new CudaEngine(run, new StateTransfer(run, overrides.piece), steps);
    await engine.begin(start);
    return engine;
  } catch (error) {
    device.close();
    throw error;
  }
}

/** Page-locked memory of a batch's arrays. */
type BatchMemory = Readonly<Partial<Record<'x' | 'y', HostBuffer>>>;

/** It as a batch. */
function batchIn({ x, y }: BatchMemory, { batchDType }: EngineSettings): Batch {
  const view = ({ bytes }: HostBuffer) => (batchDType === 'float32' ? new Float32Array(bytes) : new Uint16Array(bytes));
  return { x: view(x!), ...(y && { y: view(y) }) };
}

class CudaEngine implements Engine {
  private readonly stepLauncher: StepLauncher;
  /** Page-locked memory for two batches. */
  readonly buffers: readonly Batch[];
  private readonly locked: readonly BatchMemory[];
  /** That into which batches from elsewhere are copied, for each half of the double buffer. */
  private readonly copies: (BatchMemory | undefined)[] = [];
  private readonly metrics: HostBuffer;
  /** The last step, and for each half of the double buffer the last that read it. */
  private last: Promise<unknown> = Promise.resolve();
  private readonly readers: Promise<unknown>[] = [Promise.resolve(), Promise.resolve()];
  /** Of each slice a guess: is it passed by products? What the last step found decides the next. */
  private dense: readonly boolean[];
  private closed = false;

  constructor(
    private readonly run: CudaRun,
    private readonly transfer: StateTransfer,
    private done: number,
  ) {
    const { settings, plan, device } = run;
    this.stepLauncher = new StepLauncher(run);
    this.dense = Array.from({ length: plan.found }, () => false);
    this.locked = [0, 1].map(() => this.lockedBatch());
    this.buffers = this.locked.map((memory) => batchIn(memory, settings));
    this.metrics = device.allocateHost(metricsBytes(plan));
  }

  /** Takes over what there is of a state. */
  async begin(start: TrainerState): Promise<void> {
    const { plan, launcher, settings, device } = this.run;
    // EventPool that steps left behind and those about to come are then alike as of now.
    this.settle();
    await this.sendFactors();
    await this.transfer.load(start);
    if (plan.precision === 'bfloat16') launcher.run('roundRows', { blocks: settings.dSae, threads: plan.threads });
    await device.mark().reached();
  }

  get steps(): number {
    return this.done;
  }

  /** A step may be asked for before the one before is over: its batch then crosses while that computes. */
  step(batch: Batch, step: StepSettings): Promise<StepMetrics> {
    const t = ++this.done;
    const slot = t % 2;
    const fed = this.readers[slot]!.then(() => this.feed(slot, batch));
    const before = this.last;
    const computed = fed.then(async (crossed) => {
      await before;
      return this.compute(slot, crossed, t, step);
    });
    this.last = computed;
    this.readers[slot] = computed;
    return computed;
  }

  async sae(): Promise<Sae> {
    await this.last;
    return saeOf(this.run.settings, await this.transfer.read(PARAMETERS[this.run.settings.architecture]));
  }

  async state(): Promise<TrainerState> {
    await this.last;
    this.settle();
    return this.transfer.read(stateShapes(this.run.settings).keys());
  }

  async load(state: TrainerState): Promise<void> {
    checkSizes(state, this.run.settings, 'whole');
    await this.last;
    await this.begin(state);
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    // The caller of a failed step has its error.
    await this.last.catch(() => {});
    try {
      const batches = [...this.locked, ...this.copies].flatMap((memory) => Object.values(memory ?? {}));
      for (const buffer of [...batches, this.metrics]) buffer.free();
      this.run.kernels.unload();
    } finally {
      this.run.device.close();
    }
  }

  private async sendFactors(): Promise<void> {
    const { device, arrays, settings } = this.run;
    for (const [name, values] of [
      ['x_factors', settings.factors?.input],
      ['y_factors', settings.factors?.target],
    ] as const) {
      if (!values) continue;
      const host = device.allocateHost(4 * values.length);
      try {
        new Float32Array(host.bytes).set(values);
        // After the arrays were cleared, which is in the order of the work.
        const crossed = device.upload(arrays.at(name), host, 4 * values.length, device.mark());
        device.waitFor(crossed);
        await crossed.reached();
      } finally {
        host.free();
      }
    }
  }

  private lockedBatch(): BatchMemory {
    const sizes = Object.entries(batchBytes(this.run.settings));
    return Object.fromEntries(sizes.map(([name, bytes]) => [name, this.run.device.allocateHost(bytes)]));
  }

  /** Events at which the batch's arrays have crossed. */
  private feed(slot: number, batch: Batch): DeviceEvent[] {
    const { device, arrays, settings } = this.run;
    return Object.entries(batchBytes(settings)).map(([part, bytes]) => {
      const name = part as 'x' | 'y';
      const values = batch[name];
      if (values?.byteLength !== bytes) {
        throw new Error(`a batch's ${name} has ${values?.byteLength ?? 'no'} bytes, not ${bytes}`);
      }
      const own = this.locked.find((memory) => memory[name]!.bytes === values.buffer)?.[name];
      return device.upload(arrays.at(`${name}${slot}`), own ?? this.copied(slot, name, values), bytes);
    });
  }

  private copied(slot: number, name: 'x' | 'y', values: ActivationArray): HostBuffer {
    this.copies[slot] ??= this.lockedBatch();
    const host = this.copies[slot][name]!;
    new Uint8Array(host.bytes).set(new Uint8Array(values.buffer, values.byteOffset, values.byteLength));
    return host;
  }

  private async compute(
    slot: number,
    fed: readonly DeviceEvent[],
    t: number,
    step: StepSettings,
  ): Promise<StepMetrics> {
    const { device, arrays, settings, plan } = this.run;
    for (const event of fed) device.waitFor(event);
    for (;;) {
      this.stepLauncher.launch(slot, t, step, this.dense);
      device.download(this.metrics, arrays.at('metrics'), metricsBytes(plan));
      await device.mark().reached();
      const values = new Float64Array(this.metrics.bytes, 0, METRIC_SUMS.length + plan.found);
      const sums = Object.fromEntries(METRIC_SUMS.map((name, i) => [name, values[i]!])) as StepSums;
      if (sums.left === 0) return metricsOf(sums, settings, step);
      this.prepare(values.subarray(METRIC_SUMS.length));
    }
  }

  /**
   * For a step that left, having changed nothing: makes room for its entries, and takes each slice for what it is.
   *
   * @param found entries of each slice
   */
  private prepare(found: Float64Array): void {
    const { arrays, settings, plan } = this.run;
    const { room } = arrays;
    const before = this.dense;
    this.dense = Array.from(found, (entries, s) => {
      return entries > plan.mostListed(Math.min(plan.slice, settings.dSae - s * plan.slice));
    });
    const listed = found.reduce((sum, entries, s) => (this.dense[s] ? sum : sum + entries), 0);
    if (listed > room) arrays.grow(listed);
    else if (before.every((is, s) => is === this.dense[s])) throw new Error('a step left for no reason');
  }

  /** Brings moments that lazy steps left behind up to date, so that the state is what every engine would have. */
  private settle(): void {
    const { launcher, settings, plan } = this.run;
    launcher.run('settle', { blocks: settings.dSae, threads: plan.threads }, { step: this.done });
  }
}

type StepSums = Record<(typeof METRIC_SUMS)[number], number>;

function metricsOf(sums: StepSums, { batch }: EngineSettings, { l1 }: StepSettings): StepMetrics {
  return {
    mse: sums.squares / batch,
    l1: (l1 * sums.penalty) / batch,
    aux: sums.auxSquares / batch,
    l0: sums.active / batch,
    variance: sums.variance / batch,
    dead: sums.dead,
  };
}

function checkDeviceMemory({ dIn, dSae, batch }: EngineSettings, { bytes }: CudaPlan, device: CudaDevice): void {
  const { free } = device.memory();
  if (bytes <= free) return;
  throw new Refusal(
    `--d-sae ${dSae} at d_in ${dIn} and --batch ${batch} needs ${formatBytes(bytes)} of memory on ${device.name}, and ${formatBytes(free)} are free.`,
    'Train a smaller dictionary, use a smaller --batch, or wait until the device is free.',
    'cuda/out-of-memory',
  );
}

/** A run of an array's rows. */
interface Piece {
  readonly name: string;
  readonly first: number;
  readonly count: number;
}

/** Carries the state between the engines' arrays and the device's, in pieces through page-locked memory. */
class StateTransfer {
  constructor(
    private readonly run: CudaRun,
    private readonly pieceBytes = PIECE_BYTES,
  ) {}

  /** Writes what `start` has of the state; the rest stays as it is. */
  async load(start: TrainerState): Promise<void> {
    const { device, settings } = this.run;
    for (const name of stateShapes(settings).keys()) {
      const values = start.get(name);
      if (!values) continue;
      await this.inPieces(name, async (piece, host, staging) => {
        const floats = new Float32Array(host.bytes);
        this.forRuns(piece, (at, from, length) => floats.set(values.subarray(from, from + length), at));
        device.waitFor(device.upload(staging, host, 4 * this.elements(piece)));
        this.move('toRows', piece, staging);
        await device.mark().reached();
      });
    }
  }

  /** A copy of those arrays of the state. */
  async read(names: Iterable<string>): Promise<Map<string, Float32Array>> {
    const { device, settings } = this.run;
    const state = new Map<string, Float32Array>();
    const shapes = stateShapes(settings);
    for (const name of names) {
      const values = new Float32Array(shapes.get(name)!.reduce((product, dim) => product * dim, 1));
      await this.inPieces(name, async (piece, host, staging) => {
        this.move('fromRows', piece, staging);
        device.download(host, staging, 4 * this.elements(piece));
        await device.mark().reached();
        const floats = new Float32Array(host.bytes);
        this.forRuns(piece, (at, from, length) => values.set(floats.subarray(at, at + length), from));
      });
      state.set(name, values);
    }
    return state;
  }

  private async inPieces(
    name: string,
    visit: (piece: Piece, host: HostBuffer, staging: DevicePointer) => Promise<void>,
  ): Promise<void> {
    const { device, settings } = this.run;
    const { rows, width } = shapeOnDevice(name, settings);
    const each = Math.min(rows, Math.max(1, Math.floor(this.pieceBytes / (4 * width))));
    const host = device.allocateHost(4 * each * width);
    try {
      const staging = device.allocate(4 * each * width);
      try {
        for (let first = 0; first < rows; first += each) {
          await visit({ name, first, count: Math.min(each, rows - first) }, host, staging);
        }
      } finally {
        device.free(staging);
      }
    } finally {
      host.free();
    }
  }

  private elements({ name, count }: Piece): number {
    return count * shapeOnDevice(name, this.run.settings).width;
  }

  /** Where runs of the piece lie in it and in the whole array. */
  private forRuns(piece: Piece, copy: (at: number, from: number, length: number) => void): void {
    const { first, count } = piece;
    const { rows, width, transposed } = shapeOnDevice(piece.name, this.run.settings);
    if (transposed) for (let i = 0; i < width; i++) copy(i * count, i * rows + first, count);
    else copy(0, first * width, this.elements(piece));
  }

  /** Between the piece on the device and its place there. */
  private move(kernel: 'toRows' | 'fromRows', { name, first, count }: Piece, staging: DevicePointer): void {
    const { settings, plan, arrays, launcher } = this.run;
    const { width, padded, transposed } = shapeOnDevice(name, settings);
    const numbers = { first, count, width, padded, transposed: Number(transposed) };
    launcher.run(
      kernel,
      { blocks: count, threads: plan.threads },
      { piece: staging, matrix: arrays.at(name), ...numbers },
    );
  }
}
