import { ADAM_EPSILON } from '../engine.js';
import { featuresOf, padded } from './memory.js';
import type { Equipment } from './select.js';

/**
 * A worker's rows of W_skip [d_out, d_in], for its share of the target's columns. It is dense, so it is computed as two
 * matrix products in ONNX Runtime: x W_skipᵀ before the residuals, ∂W_skip = rᵀ x after them.
 */
export class SkipConnection {
  private readonly first: number;
  private readonly columns: number;
  private readonly d: { readonly in: number; readonly out: number };

  constructor(private readonly equipment: Equipment) {
    const { settings, exchange } = equipment;
    const dOut = settings.dOut!;
    const [first, last] = featuresOf(dOut, exchange.index, exchange.workers);
    this.first = first;
    this.columns = last - first;
    this.d = { in: padded(settings.dIn), out: padded(dOut) };
  }

  /** Adds this worker's columns of x W_skipᵀ to its partial sums, which add up to x̂ over all workers. */
  async decode(sums: readonly string[]): Promise<void> {
    if (this.columns === 0) return;
    const { arena, products, settings, watch } = this.equipment;
    await products.transposedB(this.input(), this.weights('W_skip'), this.share());
    const share = arena.f32('skip_share');
    for (const name of sums) {
      const r = arena.f32(name);
      for (let b = 0, i = 0; b < settings.batch; b++) {
        for (let o = 0; o < this.columns; o++) r[b * this.d.out + this.first + o]! += share[i++]!;
      }
    }
    watch.done('decode');
  }

  /**
   * ∂W_skip for this worker's rows.
   *
   * @param residuals complete residuals of the decodes that train W_skip
   * @returns Σ of its squares
   */
  async gradient(residuals: readonly string[]): Promise<number> {
    const { arena, products, settings, watch } = this.equipment;
    if (this.columns === 0 || !settings.trained.includes('W_skip')) return 0;
    const share = arena.f32('skip_share');
    const values = residuals.map((name) => arena.f32(name));
    for (let b = 0, i = 0; b < settings.batch; b++) {
      const from = b * this.d.out + this.first;
      for (let o = 0; o < this.columns; o++) share[i++] = values.reduce((sum, r) => sum + r[from + o]!, 0);
    }
    await products.transposedA(this.share(), this.input(), this.weights('skip_gradient'));
    const gradient = arena.f32('skip_gradient', 0, this.columns * this.d.in);
    const squares = gradient.reduce((sum, value) => sum + value * value, 0);
    watch.done('update');
    return squares;
  }

  /**
   * Adam on this worker's rows, with `gradient` times `clip`.
   *
   * @param steps t of Adam
   * @returns Σ of what was written
   */
  update({ lr, steps, clip }: { readonly lr: number; readonly steps: number; readonly clip: number }): number {
    const { arena, settings, watch } = this.equipment;
    if (this.columns === 0 || !settings.trained.includes('W_skip')) return 0;
    const { beta1, beta2 } = settings;
    const [correction1, correction2] = [1 / (1 - beta1 ** steps), 1 / (1 - beta2 ** steps)];
    const length = this.columns * this.d.in;
    const [W, v] = [arena.f32('W_skip'), arena.f32('v/W_skip')];
    const gradient = arena.f32('skip_gradient', 0, length);
    const m = beta1 > 0 ? arena.f32('m/W_skip') : undefined;
    let written = 0;
    for (let i = 0; i < length; i++) {
      const g = clip * gradient[i]!;
      v[i] = beta2 * v[i]! + (1 - beta2) * g * g;
      let numerator = g;
      if (m) {
        m[i] = beta1 * m[i]! + (1 - beta1) * g;
        numerator = m[i]! * correction1;
      }
      W[i] = W[i]! - lr * (numerator / (Math.sqrt(v[i]! * correction2) + ADAM_EPSILON));
      written += W[i]! + v[i]!;
    }
    watch.done('update');
    return written;
  }

  private input() {
    return { array: 'xc', rows: this.equipment.settings.batch, columns: this.d.in };
  }

  private weights(array: 'W_skip' | 'skip_gradient') {
    return { array, rows: this.columns, columns: this.d.in };
  }

  /** [B, columns]: first the output of W_skip, then the residuals. */
  private share() {
    return { array: 'skip_share', rows: this.equipment.settings.batch, columns: this.columns };
  }
}
