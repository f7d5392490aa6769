import type { EngineSettings, StepSettings } from '../engine.js';
import { isTrained, objectiveOf } from '../objective.js';
import type { DeviceArrays } from './arrays.js';
import type { CudaDevice, KernelArgument, Kernels } from './device.js';
import { COUNTER_BYTES, type CudaPlan, WARP } from './plan.js';

/** Threads of blocks whose size nothing dictates. */
const THREADS = 256;
/** Threads of a block in which each warp takes rows and each lane a column. */
const COLUMN_THREADS = 1024;
const WARPS = THREADS / WARP;

/**
 * Asks for the kernels of a step, one after another; nothing here waits. A step that finds too little room for its
 * entries changes nothing and says so in its metrics.
 */
export class StepLauncher {
  private readonly bias: string;

  constructor(
    private readonly settings: EngineSettings,
    private readonly plan: CudaPlan,
    private readonly device: CudaDevice,
    private readonly kernels: Kernels,
    private readonly arrays: DeviceArrays,
  ) {
    this.bias = settings.architecture === 'gated' ? 'b_gate' : 'b_enc';
  }

  /**
   * @param slot of the two batches
   * @param t the step's number, from 1
   */
  launch(slot: number, t: number, { lr, l1 }: StepSettings): void {
    const { batch, beta1, beta2 } = this.settings;
    const numbers = [lr, l1 / batch, 1 / (1 - beta1 ** t), 1 / (1 - beta2 ** t)].map((float) => ({ float }));
    this.device.clear(this.arrays.at('counters'), COUNTER_BYTES);
    this.encode(slot);
    this.decode();
    this.regroup();
    this.update(t, numbers);
    this.run('metrics', 1, THREADS, 'token_sums', 'variance', this.tokenMajor, this.dead, 'metrics');
  }

  /** Counters: entries token-major, entries feature-major, dead features. */
  private get tokenMajor() {
    return this.arrays.at('counters');
  }

  private get featureMajor() {
    return this.arrays.at('counters') + 8n;
  }

  private get dead() {
    return this.arrays.at('counters') + 16n;
  }

  private get room(): KernelArgument {
    return { long: this.arrays.room };
  }

  /** The batch centred; its active entries, slice by slice of the dictionary. */
  private encode(slot: number): void {
    const { settings, plan, device, arrays, bias } = this;
    const { dSae, batch } = settings;
    const { d, slice, slices, precision, threads } = plan;
    this.run('centre', batch, threads, `batch${slot}`, 'b_dec', 'xc', 'xc_bfloat16');
    this.run('variance', Math.ceil(d / WARP), COLUMN_THREADS, 'xc', 'variance');
    const rounded = precision === 'bfloat16';
    for (let s = 0; s < slices; s++) {
      const first = s * slice;
      const count = Math.min(slice, dSae - first);
      device.multiply({
        m: batch,
        n: count,
        k: d,
        a: arrays.at(rounded ? 'xc_bfloat16' : 'xc'),
        b: rounded ? arrays.at('W_enc_bfloat16') + BigInt(2 * first * d) : arrays.at('W_enc') + BigInt(4 * first * d),
        transposedB: true,
        c: arrays.at('p_slice'),
        strideC: slice,
        precision,
      });
      const range = [{ int: first }, { int: count }] as const;
      this.run('mark', batch, THREADS, 'p_slice', bias, ...range, 'mask', 'counts');
      const start = arrays.at('token_start') + BigInt(4 * s * batch);
      this.run('scan', 1, THREADS, 'counts', { int: batch }, start, this.tokenMajor);
      const lists = ['word_start', 'feature', 'p'] as const;
      this.run('gather', batch, THREADS, 'p_slice', 'mask', start, ...range, ...lists, this.tokenMajor, this.room);
    }
  }

  /** x̂ and x̂_aux, what they leave of x, and its dots with the entries' rows of W_dec. */
  private decode(): void {
    const { settings, plan, bias, tokenMajor, room } = this;
    const biases = [bias, 'b_mag', 'r_mag'] as const;
    const entries = ['token_start', 'feature', 'p'] as const;
    const out = ['r', 'r_aux', 'token_sums'] as const;
    this.run('decode', settings.batch, plan.threads, 'xc', 'W_dec', ...biases, ...entries, ...out, tokenMajor, room);
    const [start, feature] = entries;
    this.run('dots', settings.batch, THREADS, 'W_dec', 'r', 'r_aux', start, feature, 'df', 'dg', tokenMajor, room);
  }

  /** The entries feature-major. */
  private regroup(): void {
    const { plan, settings, tokenMajor, room } = this;
    const { chunks, words } = plan;
    const tiles = [Math.ceil(words / WARPS), chunks] as const;
    this.run('countColumns', tiles, THREADS, 'mask', 'chunk_counts');
    const blocks = Math.ceil(settings.dSae / THREADS);
    this.run('prefixChunks', blocks, THREADS, 'chunk_counts', { int: chunks }, 'feature_counts');
    const [counts, start] = ['feature_counts', 'feature_start'] as const;
    this.run('scan', 1, COLUMN_THREADS, counts, { int: settings.dSae }, start, this.featureMajor);
    const lists = ['token', 'entry'] as const;
    this.run('fillColumns', tiles, THREADS, 'mask', 'word_start', 'chunk_counts', start, ...lists, tokenMajor, room);
  }

  /** Gradients and Adam, of what a feature owns and then of b_dec. */
  private update(t: number, numbers: readonly KernelArgument[]): void {
    const { plan, settings, bias, tokenMajor, room } = this;
    const { d, rowBlocks, threads } = plan;
    const step = { int: t };
    const moved = (name: string) => [name, `m/${name}`, `v/${name}`] as const;
    const entries = ['feature_start', 'entry', 'p', 'df', 'dg'] as const;
    const state = [...moved(bias), ...moved('b_mag'), ...moved('r_mag'), 'updated', step] as const;
    const counts = ['dp_sum', 'since_fired', this.dead, tokenMajor, room] as const;
    this.run('features', Math.ceil(settings.dSae / WARPS), THREADS, ...entries, ...state, ...counts, ...numbers);

    const lists = ['feature_start', 'token', 'entry', 'df', 'dg', 'p', 'xc', 'r', 'r_aux', 'dp_sum'] as const;
    const matrices = [...moved('W_enc'), 'W_enc_bfloat16', ...moved('W_dec'), 'updated', step, 'pull_parts'] as const;
    this.run('updateRows', rowBlocks, threads, ...lists, ...matrices, tokenMajor, room, ...numbers);

    if (!isTrained(settings, 'b_dec')) return;
    const columns = Math.ceil(d / WARP);
    const sum = (from: string, rows: number, to: string) =>
      this.run('sumColumns', columns, COLUMN_THREADS, from, { int: rows }, to);
    sum('r', settings.batch, 'r_sum');
    if (objectiveOf(settings).unfrozen) sum('r_aux', settings.batch, 'r_aux_sum');
    sum('pull_parts', rowBlocks, 'pull');
    const sums = ['r_sum', 'r_aux_sum', 'pull', tokenMajor, room] as const;
    this.run('updateDecoderBias', Math.ceil(settings.dIn / THREADS), THREADS, ...moved('b_dec'), ...sums, ...numbers);
  }

  /** Launches a kernel; a name stands for where that array lies. */
  private run(
    kernel: string,
    grid: number | readonly [number, number],
    threads: number,
    ...args: readonly (string | KernelArgument)[]
  ): void {
    const values = args.map((arg) => (typeof arg === 'string' ? this.arrays.at(arg) : arg));
    this.kernels.launch(kernel, grid, threads, values);
  }
}
