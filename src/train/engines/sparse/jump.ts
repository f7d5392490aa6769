import type { Jump } from '../../../sae/architecture.js';
import { writeBlock } from './kernels.js';
import type { Equipment } from './select.js';

/** Rounding error of float32 in p + bias and in the sums below, relative to their terms. */
const ROUNDING = 2 ** -20;

/**
 * What jumps add to a slice's step (`Jump` of the form): additional entries besides those with f > 0, and the
 * dependence of the penalty on a token's number of features. Entries below the threshold train it and, if requested,
 * the encoder; they are not part of any reconstruction.
 */
export class JumpTraining {
  constructor(
    private readonly equipment: Equipment,
    private readonly jump: Jump,
  ) {
    const { arena } = equipment;
    const { bandwidth, penalty, toEncoder } = jump;
    writeBlock(arena, 'main/block', 'Entries', {
      ...{ half: bandwidth / 2, kernel: 1 / bandwidth, toEncoder: Number(toEncoder) },
      tanhScale: penalty.kind === 'tanh' ? penalty.scale : 0,
      ...{ weights: arena.pointer('weights'), counts: arena.pointer('counts') },
    });
  }

  /** The derivative of the penalty with respect to an f of 0, except for the jump. */
  slope(l1: number): number {
    return this.jump.penalty.kind === 'tanh' ? l1 * this.jump.penalty.scale : 0;
  }

  /**
   * Lower bound of pre-activations that become entries: half of the kernel's width below the threshold, plus a margin
   * for float32 rounding (the kernels then test each exactly). All pre-activations of a dead feature are entries, if it
   * is to be revived.
   */
  begin(): void {
    const { arena, form, settings } = this.equipment;
    const { bandwidth, preAct } = this.jump;
    const [opens, factor] = [arena.f32('opens'), arena.f32('factor')];
    const [bias, threshold] = [arena.f32(form.select.bias), arena.f32('threshold')];
    arena.f32('since_fired').forEach((since, j) => {
      const dead = preAct > 0 && since >= settings.deadWindow;
      const [b, t] = [bias[j]!, threshold[j]!];
      const below = bandwidth / 2 + ROUNDING * (Math.abs(b) + Math.abs(t) + bandwidth);
      opens[j] = dead ? Number.POSITIVE_INFINITY : b - t + below;
      factor[j] = dead ? preAct / settings.batch : 0;
    });
    if (arena.has('counts')) arena.f32('counts').fill(0);
  }

  /** Reports the number of features of each token in this slice to the others; the next barrier is another's. */
  tellCounts(): void {
    const { arena, exchange } = this.equipment;
    if (!arena.has('counts')) return;
    const [dense, starts] = [arena.f32('counts'), arena.u32('main/token_start')];
    const mine = exchange.counts(exchange.index);
    for (let b = 0; b < mine.length; b++) mine[b] = starts[b + 1]! - starts[b]! + dense[b]!;
  }

  /**
   * Writes the cost of one more feature for each token, once all workers have reported their counts.
   *
   * @returns Σ of the penalty, over this worker's features or rows, and of the loss of dead features
   */
  weigh(l1: number): { penalised: number; auxiliary: number } {
    const { arena, exchange, settings } = this.equipment;
    const { penalty, preAct } = this.jump;
    const [tanh, active, below] = arena.f64('main/totals') as unknown as [number, number, number];
    const weights = arena.f32('weights');
    const auxiliary = preAct * below;
    if (penalty.kind !== 'quadratic') {
      weights.fill(penalty.kind === 'step' ? l1 / settings.batch : 0);
      return { penalised: penalty.kind === 'step' ? active : tanh, auxiliary };
    }
    const { target } = penalty;
    const counts = Array.from({ length: exchange.workers }, (_, worker) => exchange.counts(worker));
    const [first, last] = exchange.range();
    let penalised = 0;
    for (let b = 0; b < settings.batch; b++) {
      const off = counts.reduce((sum, numbers) => sum + numbers[b]!, 0) - target;
      weights[b] = (4 * l1 * off) / (target * settings.batch);
      if (b >= first && b < last) penalised += (2 / target) * off * off;
    }
    return { penalised, auxiliary };
  }
}
