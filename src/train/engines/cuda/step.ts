import type { EngineSettings, StepSettings } from '../engine.js';
import { followedBy } from '../state.js';
import { DeadFeatures } from './dead-features.js';
import { DenseSlices, type FeatureRange } from './dense-slices.js';
import { EncoderProduct } from './encoder-product.js';
import type { ArrayField } from './kernels/arguments.js';
import { COLUMN_THREADS, type KernelValues, type StepParts, THREADS, WARPS } from './launcher.js';
import { CHUNK, COUNTER_BYTES, type CudaPlan, WARP } from './plan.js';
import { EntrySelection, type ListedKinds } from './selection.js';

/**
 * Launches the kernels of a step in order, without waiting. A step that has too little room for its entries, or a wrong
 * guess about a slice, changes nothing and reports that in its metrics.
 */
export class StepLauncher {
  private readonly denseSlices: DenseSlices;
  private readonly deadFeatures: DeadFeatures;
  private readonly product: EncoderProduct;
  private readonly selection: EntrySelection;

  constructor(private readonly parts: StepParts) {
    this.denseSlices = new DenseSlices(parts);
    this.deadFeatures = new DeadFeatures(parts);
    this.product = new EncoderProduct(parts);
    this.selection = new EntrySelection(parts, this.product, this.denseSlices, this.deadFeatures);
  }

  /**
   * @param slot of the two batches
   * @param t the step's number, from 1
   */
  launch(slot: number, t: number, { lr, l1 }: StepSettings, kinds: ListedKinds): void {
    const { settings, plan, device, arrays, launcher } = this.parts;
    const { batch, beta1, beta2 } = settings;
    const { dense, revives } = kinds;
    const corrections = { correction1: 1 / (1 - beta1 ** t), correction2: 1 / (1 - beta2 ** t) };
    device.clear(arrays.at('counters'), COUNTER_BYTES);
    this.product.forget();
    this.centre(slot);
    this.select(kinds);
    this.decode(dense.includes(true));
    if (revives) this.deadFeatures.reconstruct();
    const rows = revives ? plan.rows : batch;
    launcher.run('dots', { blocks: rows, threads: THREADS });
    this.regroup(rows);
    this.update({ step: t, lr, l1: l1 / batch, ...corrections, ...this.total(rows) }, dense);
    launcher.run('metrics', { blocks: 1, threads: THREADS });
  }

  /** The sums of single tokens, of the rows in xc and yc, which are scaled: `token_sums`, and the same metrics. */
  launchForward(dense: readonly boolean[]): void {
    const { device, arrays, launcher } = this.parts;
    device.clear(arrays.at('counters'), COUNTER_BYTES);
    this.product.forget();
    this.select({ dense, revives: false });
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

  /** The batch's variance and its entries. */
  private select(kinds: ListedKinds): void {
    const { plan, launcher } = this.parts;
    launcher.run('variance', { blocks: Math.ceil(plan.dOutRow / WARP), threads: COLUMN_THREADS });
    this.selection.select(kinds);
  }

  /** ŷ and the second reconstruction, and their residuals. */
  private decode(dense: boolean): void {
    const { settings, plan, launcher } = this.parts;
    launcher.run('decode', { blocks: settings.batch, threads: plan.threads }, { dense: Number(dense) });
  }

  /** Number of entries of the first rows. */
  private total(rows: number): KernelValues {
    const { arrays, settings } = this.parts;
    const ofTokens = arrays.at('total');
    return { total: rows > settings.batch ? ofTokens + 8n : ofTokens };
  }

  /** The entries of the first rows, feature-major; those of a feature with many are split into parts. */
  private regroup(rows: number): void {
    const { plan, settings, arrays, launcher } = this.parts;
    const chunks = Math.ceil(rows / CHUNK);
    const tiles = { blocks: [Math.ceil(plan.words / WARPS), chunks], threads: THREADS } as const;
    const perFeature = { blocks: Math.ceil(settings.dSae / THREADS), threads: THREADS };
    // Belongs to no list: 0.
    const [before, end] = [arrays.at('totals'), arrays.at('total_by_feature')];
    launcher.run('countColumns', tiles, { rows });
    launcher.run('prefixChunks', perFeature, { chunks });
    const entries = { counts: arrays.at('feature_counts'), starts: arrays.at('feature_start'), before, end };
    launcher.scan(settings.dSae, entries);
    launcher.run('fillColumns', tiles, { rows });
    launcher.run('countParts', perFeature, this.total(rows));
    launcher.scan(settings.dSae, { counts: arrays.at('part_counts'), starts: arrays.at('part_start'), before, end });
  }

  /** Gradients and Adam, for the parameters of features and then for b_dec. */
  private update(numbers: KernelValues, dense: readonly boolean[]): void {
    const { plan, settings, launcher } = this.parts;
    const perRow = { threads: plan.threads };
    const ranges = rangesOf(plan, settings, dense);
    for (const range of ranges) {
      if (range.slice === undefined) this.updateListed(range, numbers);
    }
    launcher.run('sumParts', { ...perRow, blocks: plan.parts }, numbers);
    for (const [i, range] of ranges.entries()) {
      if (range.slice !== undefined) {
        this.product.encode(range.slice);
        // p becomes ∂p.
        this.product.forget();
        this.denseSlices.backward(range, numbers);
      }
      const { first, count, slice } = range;
      const about = { first, count, dense: Number(slice !== undefined), fresh: Number(i === 0) };
      launcher.run('updateRows', { ...perRow, blocks: plan.rowBlocks }, { ...numbers, ...about });
    }
    if (plan.trains.b_dec) this.updateDecoderBias(numbers);
    if (followedBy(settings)) launcher.run('follow', { blocks: Math.ceil(settings.dSae / THREADS), threads: THREADS });
  }

  /** The parameters of features other than their rows. */
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

/** Features updated by one launch; `slice` if it is one that is not listed. */
interface UpdatedRange extends FeatureRange {
  readonly slice?: number;
}

/** Each unlisted slice separately, the others merged into as few ranges as possible. */
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
