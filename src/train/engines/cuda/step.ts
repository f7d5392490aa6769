/** The kernels of a run, launched by name on its arrays, and the order in which a step asks for them. */

import type { EngineSettings, StepSettings } from '../engine.js';
import { isTrained } from '../state.js';
import type { CompiledKernels, CudaDevice, DevicePointer } from './device.js';
import { type ArrayField, type Field, type KernelName, type NumberField, packArguments } from './kernels/arguments.js';
import { SCAN_TILE } from './kernels/scan.js';
import { COUNTER_BYTES, type CudaPlan, type DeviceArrays, WARP } from './plan.js';

/** Threads of blocks whose size nothing dictates. */
const THREADS = 256;
/** Threads of a block in which each warp takes rows and each lane a column. */
const COLUMN_THREADS = 1024;
const WARPS = THREADS / WARP;
/** Threads of a block that scans a tile. */
const SCAN_TILE_THREADS = 1024;

export type KernelValues = Partial<Record<ArrayField, DevicePointer> & Record<NumberField, number>>;

/** Blocks in x, or in x and y, and threads in x. */
export interface GridShape {
  readonly blocks: number | readonly [number, number];
  readonly threads: number;
}

/** Launches kernels on the arrays of their fields' names. */
export class Launcher {
  constructor(
    private readonly kernels: CompiledKernels,
    private readonly arrays: DeviceArrays,
  ) {}

  /** @param values of fields that are numbers, and of those that are not the array of their name */
  run(kernel: KernelName, { blocks, threads }: GridShape, values: KernelValues = {}): void {
    const valueFor = (field: Field) => {
      if (field === 'room') return this.arrays.room;
      return values[field] ?? this.arrays.at(field.replace(/^([mv])_/, '$1/'));
    };
    this.kernels.launch(kernel, blocks, threads, packArguments(kernel, valueFor));
  }
}

/**
 * Asks for the kernels of a step, one after another; nothing here waits. A step that finds too little room for its
 * entries changes nothing and says so in its metrics.
 */
export class StepLauncher {
  constructor(
    private readonly settings: EngineSettings,
    private readonly plan: CudaPlan,
    private readonly device: CudaDevice,
    private readonly arrays: DeviceArrays,
    private readonly launcher: Launcher,
  ) {}

  /**
   * @param slot of the two batches
   * @param t the step's number, from 1
   */
  launch(slot: number, t: number, { lr, l1 }: StepSettings): void {
    const { batch, beta1, beta2 } = this.settings;
    const corrections = { correction1: 1 / (1 - beta1 ** t), correction2: 1 / (1 - beta2 ** t) };
    this.device.clear(this.arrays.at('counters'), COUNTER_BYTES);
    this.select(slot);
    this.decode();
    this.regroup();
    this.update({ step: t, lr, l1: l1 / batch, ...corrections });
    this.launcher.run('metrics', { blocks: 1, threads: THREADS });
  }

  /** The batch centred, and its entries. */
  private select(slot: number): void {
    const { settings, plan, arrays, launcher } = this;
    const { batch } = settings;
    const perRow = { blocks: batch, threads: plan.threads };
    launcher.run('centre', perRow, { x: arrays.at(`x${slot}`) });
    if (settings.dOut !== undefined) launcher.run('centreTarget', perRow, { y: arrays.at(`y${slot}`) });
    launcher.run('variance', { blocks: Math.ceil(plan.dOutRow / WARP), threads: COLUMN_THREADS });
    if (plan.k > 0) this.selectLargest();
    else this.selectPositive();
  }

  /** Those above 0: a slice alone decides its entries. */
  private selectPositive(): void {
    const { settings, plan, launcher } = this;
    const perToken = { blocks: settings.batch, threads: THREADS };
    for (let s = 0; s < plan.slices; s++) {
      const range = this.encode(s);
      launcher.run('mark', perToken, range);
      launcher.run('gather', perToken, { ...range, ...this.startTokens(s) });
    }
  }

  /** A token's k largest. */
  private selectLargest(): void {
    const { settings, plan, device, arrays, launcher } = this;
    const perToken = { blocks: settings.batch, threads: THREADS };
    for (let s = 0; s < plan.slices; s++) launcher.run('shortlist', perToken, this.encode(s));
    device.clear(arrays.at('mask'), plan.arrays.get('mask')!);
    launcher.run('choose', perToken);
    launcher.run('gather', perToken, { first: 0, count: settings.dSae, ...this.startTokens(0) });
  }

  /** Where the entries of each token begin in a list, from their counts; and how many there are with those of it. */
  private startTokens(list: number): { readonly token_start: DevicePointer; readonly total: DevicePointer } {
    const { arrays, settings } = this;
    const token_start = arrays.at('token_start') + BigInt(4 * list * settings.batch);
    const before = arrays.at('totals') + BigInt(8 * list);
    const total = before + 8n;
    this.scan(settings.batch, { counts: arrays.at('counts'), starts: token_start, before, end: total });
    return { token_start, total };
  }

  private scan(n: number, ends: Record<'counts' | 'starts' | 'before' | 'end', DevicePointer>): void {
    const shape = { blocks: Math.ceil(n / SCAN_TILE), threads: SCAN_TILE_THREADS };
    if (shape.blocks > 1) this.launcher.run('sumTiles', shape, { counts: ends.counts, n });
    this.launcher.run('scan', shape, { ...ends, n });
  }

  /** p of a slice, and the range of its features. */
  private encode(s: number): { readonly first: number; readonly count: number } {
    const { arrays, plan, settings } = this;
    const { dInRow, precision, slice } = plan;
    const first = s * slice;
    const count = Math.min(slice, settings.dSae - first);
    const [suffix, bytes] = precision === 'bfloat16' ? ['_bfloat16', 2] : ['', 4];
    this.device.multiply({
      m: settings.batch,
      n: count,
      k: dInRow,
      a: arrays.at(`xc${suffix}`),
      b: arrays.at(`W_enc${suffix}`) + BigInt(bytes * first * dInRow),
      transposedB: true,
      c: arrays.at('p_slice'),
      strideC: slice,
      precision,
    });
    return { first, count };
  }

  /** ŷ and the second reconstruction, what they leave of y, and its dots with the entries' rows of W_dec. */
  private decode(): void {
    const { settings, plan, launcher } = this;
    launcher.run('decode', { blocks: settings.batch, threads: plan.threads });
    launcher.run('dots', { blocks: settings.batch, threads: THREADS });
  }

  /** The entries feature-major. */
  private regroup(): void {
    const { plan, settings, arrays, launcher } = this;
    const tiles = { blocks: [Math.ceil(plan.words / WARPS), plan.chunks], threads: THREADS } as const;
    const { chunks } = plan;
    launcher.run('countColumns', tiles);
    launcher.run('prefixChunks', { blocks: Math.ceil(settings.dSae / THREADS), threads: THREADS }, { chunks });
    this.scan(settings.dSae, {
      counts: arrays.at('feature_counts'),
      starts: arrays.at('feature_start'),
      // Of no list: 0.
      before: arrays.at('totals'),
      end: arrays.at('total_by_feature'),
    });
    launcher.run('fillColumns', tiles);
  }

  /** Gradients and Adam, of what a feature owns and then of b_dec. */
  private update(numbers: KernelValues): void {
    const { plan, settings, launcher } = this;
    launcher.run('features', { blocks: Math.ceil(settings.dSae / WARPS), threads: THREADS }, numbers);
    launcher.run('updateRows', { blocks: plan.rowBlocks, threads: plan.threads }, numbers);
    if (!isTrained(settings, 'b_dec')) return;
    this.sumColumns('r', 'r_sum', settings.batch, plan.dOutRow);
    if (plan.form.second?.trainsDecoder) this.sumColumns('r_aux', 'r_aux_sum', settings.batch, plan.dOutRow);
    const { dIn, dOut } = settings;
    if (dOut === undefined) this.sumColumns('pull_parts', 'pull', plan.rowBlocks, plan.dInRow);
    const blocks = Math.ceil((dOut ?? dIn) / THREADS);
    launcher.run('updateDecoderBias', { blocks, threads: THREADS }, numbers);
  }

  private sumColumns(from: ArrayField, to: ArrayField, rows: number, width: number): void {
    const ends = { from: this.arrays.at(from), to: this.arrays.at(to) };
    const shape = { blocks: Math.ceil(width / WARP), threads: COLUMN_THREADS };
    this.launcher.run('sumColumns', shape, { ...ends, rows, width });
  }
}
