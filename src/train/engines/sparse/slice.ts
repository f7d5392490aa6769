import { ADAM_EPSILON, type EngineSettings, type StepSettings } from '../engine.js';
import { isTrained, type Objective, objectiveOf } from '../objective.js';
import type { Arena } from './arena.js';
import { DensePasses } from './dense-passes.js';
import { Encoder } from './encoder.js';
import type { Exchange } from './exchange.js';
import type { Kernels } from './kernels.js';
import type { Products } from './products.js';
import { Stopwatch } from './profile.js';
import { exchangedSums, padded, STRIP } from './slice-plan.js';
import { type StepNumbers, writeBlock } from './step-block.js';
import { cut, type Strip } from './strip.js';

/** A worker's share of a step's sums: over its features, its rows of the batch, or its columns. */
export interface SliceSums {
  /** Σ |x − x̂|² and Σ |x − x̂_aux|² over its rows. */
  readonly squares: number;
  readonly auxSquares: number;
  /** Σ of what is penalised, ReLU(π_gate) or f, and the number of f > 0, over its features. */
  readonly l1: number;
  readonly active: number;
  /** Σ (x − x̄)² over its columns. */
  readonly variance: number;
  /** Its dead features. */
  readonly dead: number;
  /** Σ of what it wrote of the state. */
  readonly written: number;
}

/**
 * One worker's slice of the dictionary and its part of a step; README.md in the folder above tells the algorithm.
 * Features are visited strip by strip, so the pre-activations of the whole dictionary never exist.
 */
export class Slice {
  readonly watch = new Stopwatch();
  private readonly gated: boolean;
  private readonly objective: Objective;
  private readonly d: number;
  private readonly strips: readonly Strip[];
  private readonly encoder: Encoder;
  private readonly dense: DensePasses;

  /** @param steps steps already done */
  constructor(
    private readonly settings: EngineSettings,
    private readonly features: number,
    private readonly arena: Arena,
    private readonly kernels: Kernels,
    products: Products,
    private readonly exchange: Exchange,
    private steps: number,
  ) {
    this.gated = settings.architecture === 'gated';
    this.objective = objectiveOf(settings);
    this.d = padded(settings.dIn);
    this.strips = cut(0, features, STRIP);
    arena.u32('updated').fill(steps);
    this.encoder = new Encoder(settings, arena, kernels, products, this.watch);
    this.dense = new DensePasses(settings, arena, kernels, products, this.encoder, this.watch);
  }

  /** This slice's part of a step on the shared batch; all workers are in it at once. */
  async step(step: StepSettings): Promise<SliceSums> {
    this.steps++;
    this.begin(step);
    const variance = this.centre();

    this.encoder.begin();
    const dense = new Set<Strip>();
    for (const name of exchangedSums(this.settings)) this.arena.f32(name).fill(0);
    for (const strip of this.strips) {
      if ((await this.encoder.strip(strip)) === 'sparse') continue;
      dense.add(strip);
      await this.dense.decode(strip);
    }
    this.decode();
    const [squares, auxSquares] = this.residuals();

    const { kernels, gated, arena } = this;
    const update = gated ? kernels.updateGated : kernels.updateStandard;
    arena.f32('pull').fill(0);
    for (const strip of this.strips) {
      if (dense.has(strip)) await this.dense.update(strip, this.numbers(step));
      else update(arena.pointer('block'), strip.first, strip.first + strip.rows);
    }
    this.watch.done('update');
    const bias = this.updateDecoderBias(step.lr);
    const [l1, active] = arena.f64('totals') as unknown as [number, number];
    const written = kernels.takeWritten() + bias;
    return { squares, auxSquares, l1, active, variance, dead: this.age(), written };
  }

  /** Brings moments that lazy steps left behind up to date, so that the arena holds what every engine would. */
  settle(): void {
    writeBlock(this.arena, this.numbers({ lr: 0, l1: 0 }), this.gated);
    if (this.settings.beta1 === 0) {
      this.kernels.decayMoments(this.arena.pointer('block'), this.gated, 0, this.features);
    }
  }

  private numbers({ lr, l1 }: StepSettings): StepNumbers {
    const { batch, beta1, beta2 } = this.settings;
    const { l1OnF, unfrozen } = this.objective;
    return {
      d: this.d,
      step: this.steps,
      lr,
      l1: l1OnF ? 0 : l1 / batch,
      l1F: l1OnF ? l1 / batch : 0,
      unfrozen: Number(unfrozen),
      pulls: Number(isTrained(this.settings, 'b_dec')),
      beta1,
      beta2,
      fresh1: 1 - beta1,
      fresh2: 1 - beta2,
      correction1: 1 / (1 - beta1 ** this.steps),
      correction2: 1 / (1 - beta2 ** this.steps),
      epsilon: ADAM_EPSILON,
    };
  }

  private begin(step: StepSettings): void {
    const { arena } = this;
    this.watch.skip();
    writeBlock(arena, this.numbers(step), this.gated);
    arena.f64('totals').fill(0);
    arena.u32('fired').fill(0);
    if (!this.gated) return;
    const exp = arena.f32('exp_r_mag');
    arena.f32('r_mag').forEach((r, j) => {
      exp[j] = Math.exp(r);
    });
  }

  /** x − b_dec of the whole batch; the variance of this worker's columns. */
  private centre(): number {
    const { arena, kernels, exchange, settings, d } = this;
    const { batch, dIn, scale, batchDType } = settings;
    const half = batchDType === 'float16';
    if (half) arena.view('u16', 'batch', 0).set(new Uint16Array(exchange.shared.batch));
    else arena.f32('batch').set(new Float32Array(exchange.shared.batch));
    const xc = arena.pointer('xc');
    kernels.centre(arena.pointer('batch'), half, scale, arena.pointer('b_dec'), xc, batch, dIn, d);
    const column = (worker: number) => 4 * Math.floor((d / 4) * (worker / exchange.workers));
    return kernels.columnVariance(xc, batch, d, column(exchange.index), column(exchange.index + 1));
  }

  /** Adds its entries' part to x̂ − b_dec (in `r`) and x̂_aux − b_dec (in `r_aux`). */
  private decode(): void {
    const { arena, kernels, watch, gated, objective, features, d } = this;
    const { batch } = this.settings;
    const at = (name: string) => arena.pointer(name);
    kernels.regroup(
      gated,
      objective.l1OnF,
      features,
      batch,
      at(gated ? 'b_gate' : 'b_enc'),
      at('b_mag'),
      at('exp_r_mag'),
      at('entry_start'),
      at('token'),
      at('p'),
      at('fired'),
      at('token_start'),
      at('feature'),
      at('f'),
      at('g'),
      at('totals'),
    );
    watch.done('regroup');
    const [start, feature, f, wDec] = [at('token_start'), at('feature'), at('f'), at('W_dec')];
    if (objective.auxiliary) kernels.decodeGated(start, feature, f, at('g'), wDec, batch, d, at('r'), at('r_aux'));
    else kernels.decodeStandard(start, feature, f, wDec, batch, d, at('r'));
    watch.done('decode');
  }

  /**
   * Adds up the workers' partial sums, each worker for its rows and always in the same order, makes residuals of them
   * and hands them round: afterwards `r` and `r_aux` are whole.
   *
   * @returns Σ |x − x̂|² and Σ |x − x̂_aux|² over this worker's rows
   */
  private residuals(): [number, number] {
    const { arena, kernels, exchange, watch, d } = this;
    const { batch } = this.settings;
    const sums = exchangedSums(this.settings);
    const mine = exchange.range();
    const [first, last] = mine;
    const several = exchange.workers > 1;
    if (several) {
      sums.forEach((name, i) => {
        exchange.partial(exchange.index, i, [0, batch]).set(arena.f32(name, 0, batch * d));
      });
      watch.done('exchange');
      exchange.barrier();
      watch.done('waiting');
    }
    const squares = sums.map((name, i) => {
      const rows = arena.f32(name, first * d, (last - first) * d);
      const pointer = arena.pointer(name) + 4 * first * d;
      if (several) rows.set(exchange.partial(0, i, mine));
      for (let worker = 1; worker < exchange.workers; worker++) {
        arena.f32('received', 0, rows.length).set(exchange.partial(worker, i, mine));
        kernels.addTo(pointer, arena.pointer('received'), 4 * rows.length);
      }
      const total = kernels.residual(pointer, arena.pointer('xc') + 4 * first * d, last - first, d, 2 / batch);
      // Nobody reads these rows of worker 0's partial sums any more.
      if (several) exchange.partial(0, i, mine).set(rows);
      return total;
    });
    kernels.sumRows(arena.pointer('r') + 4 * first * d, last - first, d, arena.pointer('column'));
    if (this.objective.unfrozen) {
      // The auxiliary decode trains b_dec as the decode of f does.
      kernels.sumRows(arena.pointer('r_aux') + 4 * first * d, last - first, d, arena.pointer('g_dec'));
      kernels.addTo(arena.pointer('column'), arena.pointer('g_dec'), 4 * d);
    }
    exchange.bias(exchange.index, 0).set(arena.f32('column'));
    if (several) {
      watch.done('exchange');
      exchange.barrier();
      watch.done('waiting');
      sums.forEach((name, i) => {
        for (let worker = 0; worker < exchange.workers; worker++) {
          if (worker === exchange.index) continue;
          const range = exchange.range(worker);
          const rows = arena.f32(name, range[0] * d, (range[1] - range[0]) * d);
          rows.set(exchange.partial(0, i, range));
        }
      });
    }
    watch.done('exchange');
    return [squares[0]!, squares[1] ?? 0];
  }

  /**
   * Adam on b_dec, by every worker alike: ∂b_dec = Σ_b r_b − W_enc Σ_b dp_b, in the workers' order.
   *
   * @returns Σ of what was written
   */
  private updateDecoderBias(lr: number): number {
    const { arena, exchange, watch } = this;
    if (!isTrained(this.settings, 'b_dec')) return 0;
    const { beta1, beta2 } = this.settings;
    const { correction1, correction2 } = this.numbers({ lr, l1: 0 });
    exchange.bias(exchange.index, 1).set(arena.f32('pull'));
    exchange.barrier();
    watch.done('waiting');
    const parts = Array.from({ length: exchange.workers }, (_, worker) => worker);
    const sums = parts.map((worker) => exchange.bias(worker, 0));
    const pulls = parts.map((worker) => exchange.bias(worker, 1));
    const bias = arena.f32('b_dec');
    const v = arena.f32('v/b_dec');
    const m = beta1 > 0 ? arena.f32('m/b_dec') : undefined;
    let written = 0;
    for (let i = 0; i < this.settings.dIn; i++) {
      let gradient = 0;
      for (const sum of sums) gradient += sum[i]!;
      for (const pull of pulls) gradient -= pull[i]!;
      v[i] = beta2 * v[i]! + (1 - beta2) * gradient * gradient;
      let numerator = gradient;
      if (m) {
        m[i] = beta1 * m[i]! + (1 - beta1) * gradient;
        numerator = m[i]! * correction1;
      }
      bias[i] = bias[i]! - lr * (numerator / (Math.sqrt(v[i]! * correction2) + ADAM_EPSILON));
      written += bias[i]! + v[i]!;
    }
    watch.done('update');
    return written;
  }

  /** Counts activations since features fired; returns how many are dead. */
  private age(): number {
    const { batch, deadWindow } = this.settings;
    const since = this.arena.f32('since_fired');
    const fired = this.arena.u32('fired');
    let dead = 0;
    for (let j = 0; j < since.length; j++) {
      since[j] = fired[j] ? 0 : since[j]! + batch;
      if (since[j]! >= deadWindow) dead++;
    }
    return dead;
  }
}
