import type { Batch } from '../../../activations/activation-source.js';
import type { ActivationArray } from '../../../activations/rows.js';
import { formatBytes } from '../../../disk/space.js';
import { Refusal } from '../../../errors/refusal.js';
import { PARAMETERS, type Parameters, type Sae } from '../../../sae/sae.js';
import type { Engine, EngineSettings, StepMetrics, StepSettings, TrainerState } from '../engine.js';
import { checkSizes, stateShapes } from '../state.js';
import { DeviceArrays } from './arrays.js';
import type { CudaDevice, HostBuffer, Kernels, Moment } from './device.js';
import { METRIC_SUMS } from './kernels/metrics.js';
import { kernelSource } from './kernels/source.js';
import { type CudaPlan, METRICS_BYTES, planCuda } from './plan.js';
import { StepLauncher } from './step.js';
import { StateTransfer } from './transfer.js';

/** How memory is cut; tests make it small. */
export interface CudaSizes {
  /** Bytes of pre-activations that exist at a time. */
  readonly slice?: number;
  /** Bytes of the state that cross to or from the device at a time. */
  readonly piece?: number;
}

/**
 * The CUDA engine: the sparse engine's algorithm with everything on the device. docs/gpu.md, "The training engine", tells
 * the kernels and their traffic. It has never run on a GPU.
 *
 * @param start parameters, or a whole state to go on from; what is missing of the state begins at zero
 * @param steps steps already done
 * @param device is the engine's from here on, closed with it or when it cannot be opened
 * @throws Refusal where the device has too little memory
 */
export async function openCudaEngine(
  settings: EngineSettings,
  start: TrainerState,
  steps: number,
  device: CudaDevice,
  sizes: CudaSizes = {},
): Promise<Engine> {
  try {
    if (settings.architecture === 'gated_untied') throw new Error('the CUDA engine has no untied encoder');
    checkSizes(start, settings, 'start');
    const plan = planCuda(settings, sizes.slice);
    checkDeviceMemory(settings, plan, device);
    const kernels = await device.compile(kernelSource(settings, plan));
    const arrays = new DeviceArrays(device, plan, settings.batch * settings.dSae);
    const transfer = new StateTransfer(settings, plan, device, kernels, arrays, sizes.piece);
    const engine = new CudaEngine(settings, plan, device, kernels, arrays, transfer, steps);
    await engine.begin(start);
    return engine;
  } catch (error) {
    device.close();
    throw error;
  }
}

class CudaEngine implements Engine {
  private readonly launcher: StepLauncher;
  private readonly batches: readonly HostBuffer[];
  private readonly metrics: HostBuffer;
  /** The last step, and for each half of the double buffer the last that read it. */
  private last: Promise<unknown> = Promise.resolve();
  private readonly readers: Promise<unknown>[] = [Promise.resolve(), Promise.resolve()];
  private closed = false;

  constructor(
    private readonly settings: EngineSettings,
    private readonly plan: CudaPlan,
    private readonly device: CudaDevice,
    private readonly kernels: Kernels,
    private readonly arrays: DeviceArrays,
    private readonly transfer: StateTransfer,
    private done: number,
  ) {
    this.launcher = new StepLauncher(settings, plan, device, kernels, arrays);
    this.batches = [0, 1].map((slot) => device.allocateHost(plan.arrays.get(`batch${slot}`)!));
    this.metrics = device.allocateHost(METRICS_BYTES);
  }

  /** Takes over what there is of a state. */
  async begin(start: TrainerState): Promise<void> {
    // Moments that steps left behind and those about to come are then alike as of now.
    this.settle();
    await this.transfer.load(start);
    if (this.plan.precision === 'bfloat16') {
      const [rows, rounded] = [this.arrays.at('W_enc'), this.arrays.at('W_enc_bfloat16')];
      this.kernels.launch('roundRows', this.settings.dSae, this.plan.threads, [rows, rounded]);
    }
    await this.device.mark().reached();
  }

  get steps(): number {
    return this.done;
  }

  /** A step may be asked for before the one before is over: its batch then crosses while that computes. */
  step({ x }: Batch, step: StepSettings): Promise<StepMetrics> {
    const t = ++this.done;
    const slot = t % 2;
    const fed = this.readers[slot]!.then(() => this.feed(slot, x));
    const before = this.last;
    const computed = fed.then(async (moment) => {
      await before;
      return this.compute(slot, moment, t, step);
    });
    this.last = computed;
    this.readers[slot] = computed;
    return computed;
  }

  async sae(): Promise<Sae> {
    await this.last;
    const { architecture, dIn, dSae } = this.settings;
    const parameters = Object.fromEntries(await this.transfer.read(PARAMETERS[architecture])) as Parameters;
    return { architecture, dIn, dSae, parameters };
  }

  async state(): Promise<TrainerState> {
    await this.last;
    this.settle();
    return this.transfer.read(stateShapes(this.settings).keys());
  }

  async load(state: TrainerState): Promise<void> {
    checkSizes(state, this.settings, 'whole');
    await this.last;
    await this.begin(state);
  }

  async close(): Promise<void> {
    if (this.closed) return;
    this.closed = true;
    // A step that failed has told its caller.
    await this.last.catch(() => {});
    try {
      for (const buffer of [...this.batches, this.metrics]) buffer.free();
      this.kernels.unload();
    } finally {
      this.device.close();
    }
  }

  private feed(slot: number, x: ActivationArray): Moment {
    const host = this.batches[slot]!;
    new Uint8Array(host.bytes).set(new Uint8Array(x.buffer, x.byteOffset, x.byteLength));
    return this.device.upload(this.arrays.at(`batch${slot}`), host, x.byteLength);
  }

  private async compute(slot: number, fed: Moment, t: number, step: StepSettings): Promise<StepMetrics> {
    this.device.waitFor(fed);
    for (;;) {
      const { room } = this.arrays;
      this.launcher.launch(slot, t, step);
      this.device.download(this.metrics, this.arrays.at('metrics'), METRICS_BYTES);
      await this.device.mark().reached();
      const values = new Float64Array(this.metrics.bytes, 0, METRIC_SUMS.length);
      const sums = Object.fromEntries(METRIC_SUMS.map((name, i) => [name, values[i]!])) as MetricSums;
      // Where the entries found no room, the step has changed nothing.
      if (sums.entries <= room) return metricsOf(sums, this.settings, step);
      this.arrays.grow(sums.entries);
    }
  }

  /** Brings moments that lazy steps left behind up to date, so that the state is what every engine would have. */
  private settle(): void {
    const { arrays, settings } = this;
    const bias = settings.architecture === 'gated' ? 'b_gate' : 'b_enc';
    const moments = ['W_enc', 'W_dec', bias, 'b_mag', 'r_mag'].map((name) => arrays.at(`v/${name}`));
    const args = [...moments, arrays.at('updated'), { int: this.done }];
    this.kernels.launch('settle', settings.dSae, this.plan.threads, args);
  }
}

type MetricSums = Record<(typeof METRIC_SUMS)[number], number>;

function metricsOf(sums: MetricSums, { batch }: EngineSettings, { l1 }: StepSettings): StepMetrics {
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
