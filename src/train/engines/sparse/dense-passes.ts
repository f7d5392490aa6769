import type { EngineSettings } from '../engine.js';
import { isTrained, type Objective, objectiveOf, trainsGate } from '../objective.js';
import type { Arena } from './arena.js';
import type { Encoder } from './encoder.js';
import type { Kernels } from './kernels.js';
import type { Products } from './products.js';
import type { Stopwatch } from './profile.js';
import { padded } from './slice-plan.js';
import type { StepNumbers } from './step-block.js';
import { cut, type Strip } from './strip.js';

/**
 * Decode and update of strips that are too full for entry lists: the same formulas as matrix products. Nothing of a
 * strip is kept between the two, its pre-activations are computed again.
 */
export class DensePasses {
  private readonly gated: boolean;
  private readonly objective: Objective;
  private readonly B: number;
  private readonly Bp: number;
  private readonly d: number;

  constructor(
    private readonly settings: EngineSettings,
    private readonly arena: Arena,
    private readonly kernels: Kernels,
    private readonly products: Products,
    private readonly encoder: Encoder,
    private readonly watch: Stopwatch,
  ) {
    this.gated = settings.architecture === 'gated';
    this.objective = objectiveOf(settings);
    this.B = settings.batch;
    this.Bp = padded(settings.batch);
    this.d = padded(settings.dIn);
  }

  /** Adds the strip's part to x̂ (in `r`) and x̂_aux (in `r_aux`); the encoder left its pre-activations in the tile. */
  async decode(strip: Strip): Promise<void> {
    const { kernels, gated, objective, B, Bp } = this;
    const at = (name: string) => this.arena.pointer(name);
    const of = (name: string) => at(name) + 4 * strip.first;
    const p = at('tile');
    const out = this.half(strip.rows, 1);
    const values = p + 4 * out;
    for (const auxiliary of gated ? [true, false] : [false]) {
      const penalised = auxiliary !== objective.l1OnF;
      // Without auxiliary loss, g is wanted for its sum alone.
      if (auxiliary && !objective.auxiliary && !penalised) continue;
      const [fired, totals] = [of('fired'), at('totals')];
      if (gated) {
        const biases = [of('b_gate'), of('b_mag'), of('exp_r_mag')] as const;
        kernels.gatedStrip(p, strip.rows, B, Bp, ...biases, auxiliary, penalised, values, fired, totals);
        if (auxiliary && !objective.auxiliary) continue;
      } else {
        kernels.standardStrip(p, strip.rows, B, Bp, of('b_enc'), values, fired, totals);
      }
      await this.products.transposedA(
        { array: 'tile', from: out, rows: strip.rows, columns: Bp },
        { array: 'W_dec', from: strip.first * this.d, rows: strip.rows, columns: this.d },
        { array: 'received', rows: Bp, columns: this.d },
      );
      kernels.addTo(at(auxiliary ? 'r_aux' : 'r'), at('received'), 4 * B * this.d);
    }
    this.watch.done('decode');
  }

  /** Gradients, projection, Adam and norm of the strip's features. */
  async update(strip: Strip, { l1, l1F }: StepNumbers): Promise<void> {
    const { arena, kernels, products, gated, objective, B, Bp, d } = this;
    const at = (name: string) => arena.pointer(name);
    for (const half of cut(strip.first, strip.rows, Math.ceil(strip.rows / 2))) {
      const { first, rows } = half;
      const of = (name: string) => at(name) + 4 * first;
      await this.encoder.product(half);
      const quarter = (n: number) => ({ array: 'tile', from: this.half(rows, n), rows, columns: Bp });
      const [p, df, dg, g] = [quarter(0), quarter(1), quarter(2), quarter(3)];
      const pointer = (m: { from: number }) => at('tile') + 4 * m.from;
      const wDec = { array: 'W_dec', from: first * d, rows, columns: d };
      const [r, rAux] = [
        { array: 'r', rows: Bp, columns: d },
        { array: 'r_aux', rows: Bp, columns: d },
      ];
      await products.transposedB(wDec, r, df);
      if (gated) {
        if (objective.auxiliary && trainsGate(this.settings)) await products.transposedB(wDec, rAux, dg);
        else arena.f32('tile', dg.from, rows * Bp).fill(0);
        const biases = [of('b_gate'), of('b_mag'), of('exp_r_mag')] as const;
        if (objective.unfrozen) {
          kernels.gatedStrip(pointer(p), rows, B, Bp, ...biases, true, false, pointer(g), of('fired'), at('totals'));
        }
        const [x, y, z] = [pointer(p), pointer(df), pointer(dg)];
        kernels.gatedGradientStrip(x, y, z, rows, B, Bp, ...biases, l1, l1F, at('strip_sums'));
      } else {
        kernels.standardGradientStrip(pointer(p), pointer(df), rows, B, Bp, of('b_enc'), l1, at('strip_sums'));
      }
      const [f, dp] = gated ? [df, dg] : [p, df];
      if (isTrained(this.settings, 'W_dec')) {
        await products.plain(f, r, { array: 'strip_dec', rows, columns: d });
        if (objective.unfrozen) {
          await products.plain(g, rAux, { array: 'strip_aux', rows, columns: d });
          kernels.addTo(at('strip_dec'), at('strip_aux'), 4 * rows * d);
        }
      }
      if (isTrained(this.settings, 'W_enc')) {
        await products.plain(dp, { array: 'xc', rows: Bp, columns: d }, { array: 'strip_enc', rows, columns: d });
      }
      kernels.applyStrip(at('block'), gated, first, rows, at('strip_enc'), at('strip_dec'), at('strip_sums'));
      this.watch.done('update');
    }
  }

  /** Where the n-th matrix of `rows` rows begins in the tile. */
  private half(rows: number, n: number): number {
    return n * rows * this.Bp;
  }
}
