/**
 * The CUDA engine: the sparse engine's algorithm with everything on the device (docs/how-to/gpu.md, "The training
 * engine").
 */
import type { Batch } from '../../../activations/activation-source.js';
import type { ActivationArray } from '../../../activations/rows.js';
import { formatBytes } from '../../../disk/space.js';
import { Refusal } from '../../../errors/refusal.js';
import { PARAMETERS } from '../../../sae/registry.js';
import type { Sae } from '../../../sae/sae.js';
import type { Engine, EngineSettings, Example, StepMetrics, StepSettings, TrainerState } from '../engine.js';
import { checkSizes, saeOf, stateShapes } from '../state.js';
import type { CompiledKernels, CudaDevice, DeviceEvent, HostBuffer } from './device.js';
import { DeviceArrays } from './device-arrays.js';
import { METRIC_SUMS } from './kernels/numbers.js';
import { kernelSource } from './kernels/source.js';
import { Launcher, type StepParts } from './launcher.js';
import { batchBytes, type CudaPlan, checkCounts, metricsBytes, type PlanOverrides, planCuda } from './plan.js';
import { StateTransfer } from './state-transfer.js';
import { StepLauncher } from './step.js';

/** Sizes into which work is split; set by tests. */
export interface CudaOverrides extends PlanOverrides {
  /** Bytes of the state transferred at a time. */
  readonly piece?: number;
}

/** Everything a run of the engine uses. */
interface CudaRun extends StepParts {
  readonly kernels: CompiledKernels;
}

/**
 * It has never run on a GPU.
 *
 * @param start parameters, or a complete state to continue from; missing parts of the state start at zero
 * @param steps steps already done
 * @param device owned by the engine: closed with it, or if it cannot be opened
 * @throws Refusal if the device has too little memory
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

/** The same memory as a batch. */
function batchIn({ x, y }: BatchMemory, { batchDType }: EngineSettings): Batch {
  const view = ({ bytes }: HostBuffer) => (batchDType === 'float32' ? new Float32Array(bytes) : new Uint16Array(bytes));
  return { x: view(x!), ...(y && { y: view(y) }) };
}

class CudaEngine implements Engine {
  private readonly stepLauncher: StepLauncher;
  /** Page-locked memory for two batches. */
  readonly buffers: readonly Batch[];
  private readonly locked: readonly BatchMemory[];
  /** Page-locked memory into which other batches are copied, for each half of the double buffer. */
  private readonly copies: (BatchMemory | undefined)[] = [];
  private readonly metrics: HostBuffer;
  /** The last step, and for each half of the double buffer the last that read it. */
  private last: Promise<unknown> = Promise.resolve();
  private readonly readers: Promise<unknown>[] = [Promise.resolve(), Promise.resolve()];
  /** For each slice a guess: is it computed by matrix products? Determined by what the last step found. */
  private dense: readonly boolean[];
  /** With AuxK: is a feature dead, as of the last step? */
  private revives = false;
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

  /** Loads a state, or the parts of it that are given. */
  async begin(start: TrainerState): Promise<void> {
    const { plan, launcher, settings, device } = this.run;
    const since = start.get('since_fired') ?? new Float32Array(settings.dSae);
    const window = Math.fround(settings.deadWindow);
    this.revives = plan.kAux > 0 && since.some((activations) => activations >= window);
    // Moments left behind by lazy steps and those about to be loaded are then of the same step.
    this.settle(this.done);
    await this.sendFactors();
    await this.transfer.load(start);
    if (plan.precision === 'bfloat16') launcher.run('roundRows', { blocks: settings.dSae, threads: plan.threads });
    await device.mark().reached();
  }

  get steps(): number {
    return this.done;
  }

  /** A step may be requested before the previous one is over: its batch is then transferred during that. */
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

  losses(rows: Example, l1: number): Promise<Float64Array> {
    const before = this.last;
    const computed = before.then(() => this.forward(rows, l1));
    this.last = computed;
    return computed;
  }

  async state(): Promise<TrainerState> {
    await this.last;
    this.settle(this.done);
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
        // After the arrays were cleared, which is ordered with the device's work.
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

  /** Events at which the batch's arrays have been transferred. */
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
    const { device, settings, plan } = this.run;
    for (const event of fed) device.waitFor(event);
    const { revives } = this;
    const sums = await this.untilRight(() => this.stepLauncher.launch(slot, t, step, { dense: this.dense, revives }));
    this.revives = plan.kAux > 0 && sums.dead > 0;
    // So that no feature has many steps to catch up with when it is next active.
    if (settings.beta1 === 0 && t % plan.settleEvery === 0) this.settle(t);
    return metricsOf(sums, settings, step);
  }

  /** The losses of scaled rows, a batch at a time; the last is padded with zeros. */
  private async forward({ x, y }: Example, l1: number): Promise<Float64Array> {
    const { settings, plan, device, arrays, launcher } = this.run;
    const { batch, dIn, dOut } = settings;
    const losses = new Float64Array(x.length / dIn);
    const hosts = [4 * batch * plan.dInRow, ...(y ? [4 * batch * plan.dOutRow] : []), 4 * 4 * batch];
    const [input, ...rest] = hosts.map((bytes) => device.allocateHost(bytes));
    const out = rest.at(-1)!;
    try {
      for (let first = 0; first < losses.length; first += batch) {
        const padded: [string, HostBuffer, Float32Array, number, number][] = [['xc', input!, x, dIn, plan.dInRow]];
        if (y) padded.push(['yc', rest[0]!, y, dOut!, plan.dOutRow]);
        for (const [name, host, values, width, row] of padded) {
          const floats = new Float32Array(host.bytes).fill(0);
          for (let b = 0; b < Math.min(batch, losses.length - first); b++) {
            floats.set(values.subarray((first + b) * width, (first + b + 1) * width), b * row);
          }
          device.waitFor(device.upload(arrays.at(name), host, floats.byteLength));
        }
        launcher.run('centreScaled', { blocks: batch, threads: plan.threads });
        await this.untilRight(() => this.stepLauncher.launchForward(this.dense));
        device.download(out, arrays.at('token_sums'), 4 * 4 * batch);
        await device.mark().reached();
        const sums = new Float32Array(out.bytes);
        for (let b = 0; b < Math.min(batch, losses.length - first); b++) {
          losses[first + b] = sums[b]! + sums[batch + b]! + l1 * sums[2 * batch + b]!;
        }
      }
    } finally {
      for (const host of [input!, ...rest]) host.free();
    }
    return losses;
  }

  /** Launches the step until it does not return early. */
  private async untilRight(launch: () => void): Promise<StepSums> {
    const { device, arrays, plan } = this.run;
    for (;;) {
      launch();
      device.download(this.metrics, arrays.at('metrics'), metricsBytes(plan));
      await device.mark().reached();
      const values = new Float64Array(this.metrics.bytes, 0, METRIC_SUMS.length + plan.found);
      const sums = Object.fromEntries(METRIC_SUMS.map((name, i) => [name, values[i]!])) as StepSums;
      if (sums.left === 0) return sums;
      this.prepare(values.subarray(METRIC_SUMS.length));
    }
  }

  /**
   * After a step that returned early, having changed nothing: makes room for its entries, and sets for each slice
   * whether it is computed by matrix products.
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
    else if (before.every((is, s) => is === this.dense[s])) throw new Error('a step returned early for no reason');
  }

  /** Brings moments that lazy steps left behind up to date, so that the state is what every engine would have. */
  private settle(step: number): void {
    const { launcher, settings, plan } = this.run;
    launcher.run('settle', { blocks: settings.dSae, threads: plan.threads }, { step });
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
    `--d-sae ${dSae} at d_in ${dIn} and --batch ${batch} needs ${formatBytes(bytes)} of memory on ${device.name}, but only ${formatBytes(free)} are free.`,
    'Train a smaller dictionary, use a smaller --batch, or wait until the device is free.',
    'cuda/out-of-memory',
  );
}
