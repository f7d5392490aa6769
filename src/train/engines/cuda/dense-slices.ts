import type { Product } from './device.js';
import { COLUMN_THREADS, type KernelValues, type StepParts, THREADS } from './launcher.js';
import { WARP } from './plan.js';

/** Features [first, first + count). */
export interface FeatureRange {
  readonly first: number;
  readonly count: number;
}

/**
 * A slice with many active entries, computed by matrix products instead of lists: decode, residual dots and gradients.
 * They are in TF32 unless the encoder's product is float32. p of the slice is in p_slice whenever one is requested.
 */
export class DenseSlices {
  /** Has nothing been added to the sums in this step yet? */
  private fresh = true;

  constructor(private readonly parts: StepParts) {}

  /** At the start of a step with dense slices. */
  begin(): void {
    const { device, arrays, plan } = this.parts;
    device.clear(arrays.at('dense_sums'), plan.arrays.get('dense_sums')!);
    this.fresh = true;
  }

  /** Adds the slice's part of ŷ, and of the second reconstruction. */
  forward(range: FeatureRange): void {
    const { settings, plan, launcher } = this.parts;
    launcher.run('activate', { blocks: settings.batch, threads: THREADS }, range);
    const decoded = { ...this.decoder(range), transposedB: false, n: plan.dOutRow, k: range.count };
    const sums = { m: settings.batch, strideA: plan.slice, strideC: plan.dOutRow, accumulate: !this.fresh };
    const { arrays } = this.parts;
    this.multiply({ ...decoded, ...sums, a: arrays.at('f_slice'), c: arrays.at('dense_r') });
    if (plan.form.second) this.multiply({ ...decoded, ...sums, a: arrays.at('g_slice'), c: arrays.at('dense_r_aux') });
    this.fresh = false;
  }

  /** Updates the slice's features. */
  backward(range: FeatureRange, numbers: KernelValues): void {
    const { settings, plan, arrays, launcher } = this.parts;
    const dots = { m: settings.batch, n: range.count, k: plan.dOutRow, strideC: plan.slice };
    const onDecoder = { ...dots, ...this.decoder(range), transposedB: true };
    this.multiply({ ...onDecoder, a: arrays.at('r'), c: arrays.at('f_slice') });
    if (plan.secondDots) this.multiply({ ...onDecoder, a: arrays.at('r_aux'), c: arrays.at('g_slice') });
    const blocks = Math.ceil(range.count / WARP);
    launcher.run('denseFeatures', { blocks, threads: COLUMN_THREADS }, { ...numbers, ...range });
    if (plan.trains.W_enc) this.gradient('p_slice', 'xc', plan.dInRow, 'enc_gradient', range);
    if (!plan.trains.W_dec) return;
    this.gradient('f_slice', 'r', plan.dOutRow, 'dec_gradient', range);
    if (!plan.form.second?.trainsDecoder) return;
    this.gradient('g_slice', 'r_aux', plan.dOutRow, 'dec_gradient', range, true);
  }

  /** Rows of W_dec as B. */
  private decoder({ first }: FeatureRange): Pick<Product, 'b'> {
    const { arrays, plan } = this.parts;
    return { b: arrays.at('W_dec') + BigInt(4 * first * plan.dOutRow) };
  }

  /** entriesᵀ [count × B] · rows [B × width] */
  private gradient(entries: string, rows: string, width: number, to: string, range: FeatureRange, accumulate = false) {
    const { settings, plan, arrays } = this.parts;
    this.multiply({
      ...{ m: range.count, n: width, k: settings.batch },
      ...{ a: arrays.at(entries), transposedA: true, strideA: plan.slice },
      ...{ b: arrays.at(rows), transposedB: false },
      ...{ c: arrays.at(to), strideC: width, accumulate },
    });
  }

  private multiply(product: Omit<Product, 'precision'>): void {
    const { plan, device } = this.parts;
    device.multiply({ ...product, precision: plan.precision === 'float32' ? 'float32' : 'tf32' });
  }
}
