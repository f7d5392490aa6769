import type { EngineSettings, StepSettings } from '../engine.js';
import { DenseSlices, type FeatureRange } from './dense-slices.js';
import type { DevicePointer } from './device.js';
import type { ArrayField } from './kernels/arguments.js';
import { SCAN_TILE } from './kernels/scan.js';
import { COLUMN_THREADS, type KernelValues, type StepParts, THREADS, WARPS } from './launcher.js';
import { COUNTER_BYTES, type CudaPlan, WARP } from './plan.js';

/** Threads of a block that scans a tile. */
const SCAN_TILE_THREADS = 1024;

/**
 * Asks for the kernels of a step, one after another; nothing here waits. A step that finds too little room for its
 * entries, or a slice that is not what it was taken for, changes nothing and says so in its metrics.
 */
export class StepLauncher {
  private readonly denseSlices: DenseSlices;
  /** The slice whose p is in p_slice, untouched. */
  private encoded = -1;

  constructor(private readonly parts: StepParts) {
    this.denseSlices = new DenseSlices(parts);
  }

  /**
   * @param slot of the two batches
   * @param t the step's number, from 1
   * @param dense for each slice: is it passed by products?
   */
  launch(slot: number, t: number, { lr, l1 }: StepSettings, dense: readonly boolean[]): void {
    const { settings, device, arrays, launcher } = this.parts;
    const { batch, beta1, beta2 } = settings;
    const corrections = { correction1: 1 / (1 - beta1 ** t), correction2: 1 / (1 - beta2 ** t) };
    device.clear(arrays.at('counters'), COUNTER_BYTES);
    this.encoded = -1;
    this.centre(slot);
    this.select(dense);
    this.decode(dense.includes(true));
    launcher.run('dots', { blocks: batch, threads: THREADS });
    this.regroup();
    this.update({ step: t, lr, l1: l1 / batch, ...corrections }, dense);
    launcher.run('metrics', { blocks: 1, threads: THREADS });
  }

  /** The sums of single tokens, of the rows in xc and yc, which are scaled: `token_sums`, and the same metrics. */
  launchForward(dense: readonly boolean[]): void {
    const { device, arrays, launcher } = this.parts;
    device.clear(arrays.at('counters'), COUNTER_BYTES);
    this.encoded = -1;
    this.select(dense);
    this.decode(dense.includes(true));
    launcher.run('metrics', { blocks: 1, threads: THREADS });
  }

  /** The batch centred. */
  private centre(slot: number): void {
    const { settings, plan, arrays, launcher } = this.parts;
    const perRow = { blocks: settings.batch, threads: plan.threads };
    launcher.run('centre', perRow, { x: arrays.at(`x${slot}`) });
    if (settings.dOut !== undefined) launcher.run('centreTarget', perRow, { y: arrays.at(`y${slot}`) });
  }

  /** Its variance and its entries. */
  private select(dense: readonly boolean[]): void {
    const { plan, launcher } = this.parts;
    launcher.run('variance', { blocks: Math.ceil(plan.dOutRow / WARP), threads: COLUMN_THREADS });
    if (plan.k > 0) this.selectLargest();
    else this.selectPositive(dense);
  }

  /** Those above 0: a slice alone decides its entries. */
  private selectPositive(dense: readonly boolean[]): void {
    const { settings, plan, launcher } = this.parts;
    const perToken = { blocks: settings.batch, threads: THREADS };
    if (dense.includes(true)) this.denseSlices.begin();
    for (let s = 0; s < plan.slices; s++) {
      const range = this.encode(s);
      const listed = Number(!dense[s]);
      launcher.run('mark', perToken, { ...range, listed });
      const list = this.startTokens(s);
      this.judge(s, range, listed, list);
      if (dense[s]) this.denseSlices.forward(range);
      else launcher.run('gather', perToken, { ...range, ...list });
    }
  }

  /** A token's k largest. */
  private selectLargest(): void {
    const { settings, plan, device, arrays, launcher } = this.parts;
    const perToken = { blocks: settings.batch, threads: THREADS };
    for (let s = 0; s < plan.slices; s++) launcher.run('shortlist', perToken, this.encode(s));
    device.clear(arrays.at('mask'), plan.arrays.get('mask')!);
    launcher.run('choose', perToken);
    launcher.run('gather', perToken, { first: 0, count: settings.dSae, ...this.startTokens(0) });
  }

  /** Where the entries of each token begin in a list, from their counts; and how many there are with those of it. */
  private startTokens(list: number): { readonly token_start: DevicePointer; readonly total: DevicePointer } {
    const { arrays, settings } = this.parts;
    const token_start = arrays.at('token_start') + BigInt(4 * list * settings.batch);
    const before = arrays.at('totals') + BigInt(8 * list);
    const total = before + 8n;
    this.scan(settings.batch, { counts: arrays.at('counts'), starts: token_start, before, end: total });
    return { token_start, total };
  }

  private scan(n: number, ends: Record<'counts' | 'starts' | 'before' | 'end', DevicePointer>): void {
    const { launcher } = this.parts;
    const shape = { blocks: Math.ceil(n / SCAN_TILE), threads: SCAN_TILE_THREADS };
    if (shape.blocks > 1) launcher.run('sumTiles', shape, { counts: ends.counts, n });
    launcher.run('scan', shape, { ...ends, n });
  }

  /** Is the slice what it was taken for? */
  private judge(
    s: number,
    { count }: FeatureRange,
    listed: number,
    { token_start, total }: ReturnType<StepLauncher['startTokens']>,
  ): void {
    const { settings, plan, arrays, launcher } = this.parts;
    const blocks = listed ? 1 : Math.ceil((settings.batch + 1) / THREADS);
    const lists = { starts: token_start, before: total - 8n, end: total };
    const found = arrays.at('found') + BigInt(8 * s);
    launcher.run('judge', { blocks, threads: THREADS }, { ...lists, found, listed, limit: plan.mostListed(count) });
  }

  /** p of a slice, and the range of its features. */
  private encode(s: number): FeatureRange {
    const { arrays, plan, settings, device } = this.parts;
    const { dInRow, precision, slice } = plan;
    const first = s * slice;
    const count = Math.min(slice, settings.dSae - first);
    if (this.encoded === s) return { first, count };
    const [suffix, bytes] = precision === 'bfloat16' ? ['_bfloat16', 2] : ['', 4];
    device.multiply({
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
    this.encoded = s;
    return { first, count };
  }

  /** ŷ and the second reconstruction, and what they leave of y. */
  private decode(dense: boolean): void {
    const { settings, plan, launcher } = this.parts;
    launcher.run('decode', { blocks: settings.batch, threads: plan.threads }, { dense: Number(dense) });
  }

  /** The entries feature-major, and those of one feature in parts where they are many. */
  private regroup(): void {
    const { plan, settings, arrays, launcher } = this.parts;
    const tiles = { blocks: [Math.ceil(plan.words / WARPS), plan.chunks], threads: THREADS } as const;
    const perFeature = { blocks: Math.ceil(settings.dSae / THREADS), threads: THREADS };
    const { chunks } = plan;
    // Of no list: 0.
    const [before, end] = [arrays.at('totals'), arrays.at('total_by_feature')];
    launcher.run('countColumns', tiles);
    launcher.run('prefixChunks', perFeature, { chunks });
    const entries = { counts: arrays.at('feature_counts'), starts: arrays.at('feature_start'), before, end };
    this.scan(settings.dSae, entries);
    launcher.run('fillColumns', tiles);
    launcher.run('countParts', perFeature);
    this.scan(settings.dSae, { counts: arrays.at('part_counts'), starts: arrays.at('part_start'), before, end });
  }

  /** Gradients and Adam, of what features own and then of b_dec. */
  private update(numbers: KernelValues, dense: readonly boolean[]): void {
    const { plan, settings, launcher } = this.parts;
    const perRow = { threads: plan.threads };
    const ranges = rangesOf(plan, settings, dense);
    for (const range of ranges) {
      if (range.slice === undefined) this.updateListed(range, numbers);
    }
    launcher.run('sumParts', { ...perRow, blocks: plan.parts });
    for (const [i, range] of ranges.entries()) {
      if (range.slice !== undefined) {
        this.encode(range.slice);
        // p becomes ∂p.
        this.encoded = -1;
        this.denseSlices.backward(range, numbers);
      }
      const { first, count, slice } = range;
      const about = { first, count, dense: Number(slice !== undefined), fresh: Number(i === 0) };
      launcher.run('updateRows', { ...perRow, blocks: plan.rowBlocks }, { ...numbers, ...about });
    }
    if (plan.trains.b_dec) this.updateDecoderBias(numbers);
  }

  /** What features own besides their rows. */
  private updateListed({ first, count }: FeatureRange, numbers: KernelValues): void {
    const shape = { blocks: Math.ceil(count / WARPS), threads: THREADS };
    this.parts.launcher.run('features', shape, { ...numbers, first, count });
  }

  private updateDecoderBias(numbers: KernelValues): void {
    const { plan, settings, launcher } = this.parts;
    const { dIn, dOut, batch } = settings;
    this.sumColumns('r', 'r_sum', batch, plan.dOutRow);
    if (plan.form.second?.trainsDecoder) this.sumColumns('r_aux', 'r_aux_sum', batch, plan.dOutRow);
    if (dOut === undefined) this.sumColumns('pull_parts', 'pull', plan.rowBlocks, plan.dInRow);
    launcher.run('updateDecoderBias', { blocks: Math.ceil((dOut ?? dIn) / THREADS), threads: THREADS }, numbers);
  }

  private sumColumns(from: ArrayField, to: ArrayField, rows: number, width: number): void {
    const { arrays, launcher } = this.parts;
    const shape = { blocks: Math.ceil(width / WARP), threads: COLUMN_THREADS };
    launcher.run('sumColumns', shape, { from: arrays.at(from), to: arrays.at(to), rows, width });
  }
}

/** Features that are updated by one launch; `slice` where it is one that is not listed. */
interface UpdatedRange extends FeatureRange {
  readonly slice?: number;
}

/** Slices that are not listed by themselves, the others as few ranges as they are. */
function rangesOf(plan: CudaPlan, { dSae }: EngineSettings, dense: readonly boolean[]): readonly UpdatedRange[] {
  if (!dense.includes(true)) return [{ first: 0, count: dSae }];
  const ranges: UpdatedRange[] = [];
  for (const [s, is] of dense.entries()) {
    const first = s * plan.slice;
    const count = Math.min(plan.slice, dSae - first);
    const last = ranges.at(-1);
    if (is) ranges.push({ first, count, slice: s });
    else if (last && last.slice === undefined)
      ranges[ranges.length - 1] = { first: last.first, count: last.count + count };
    else ranges.push({ first, count });
  }
  return ranges;
}
