import type { SettledSettings } from '../engine.js';
import { padded } from './memory.js';
import { cut, type Equipment, type Selection, type Strip } from './select.js';

/** Matrices of a strip in the tile, consecutive: pre-activations, then f or its gradient, dp, g. */
const [P, F, DP, G] = [0, 1, 2, 3] as const;

/**
 * Decode and update of strips with too many entries for lists: the same formulas as dense matrix products. Nothing is
 * kept between the two passes; pre-activations are recomputed.
 */
export class DensePasses {
  private readonly Bp: number;
  private readonly d: { readonly in: number; readonly out: number };

  constructor(
    private readonly equipment: Equipment,
    private readonly selection: Selection,
  ) {
    const { settings } = equipment;
    this.Bp = padded(settings.batch);
    this.d = { in: padded(settings.dIn), out: padded(settings.dOut ?? settings.dIn) };
  }

  /**
   * Adds the strip's part to x̂ (in `r`) and x̂_aux (in `r_aux`); the selection has left its pre-activations in the
   * tile.
   */
  async decode({ first, rows }: Strip): Promise<void> {
    const { arena, kernels, products, form, settings, watch } = this.equipment;
    const at = (name: string) => arena.pointer(name);
    const { out } = this.d;
    for (const second of [true, false]) {
      // Without a second reconstruction, only the sum of g is needed.
      if (second && !form.second && form.penalty !== 'g') continue;
      kernels.valueStrip(at('step'), at('main/block'), first, rows, second, F);
      if (second && !form.second) continue;
      await products.transposedA(
        this.matrix(rows, F),
        { array: 'W_dec', from: first * out, rows, columns: out },
        { array: 'received', rows: this.Bp, columns: out },
      );
      kernels.addTo(at(second ? 'r_aux' : 'r'), at('received'), 4 * settings.batch * out);
    }
    watch.done('decode');
  }

  /** Gradients, projection, Adam and norm of the strip's features. */
  async update(strip: Strip): Promise<void> {
    const { arena, kernels, watch } = this.equipment;
    const at = (name: string) => arena.pointer(name);
    for (const { first, rows } of cut(strip.first, strip.rows, Math.ceil(strip.rows / 2))) {
      await this.selection.product({ first, rows });
      await this.residualDots(first, rows);
      kernels.gradientStrip(at('step'), at('main/block'), first, rows, at('strip_sums'));
      await this.gradients(rows);
      kernels.applyStrip(at('step'), first, rows, at('strip_enc'), at('strip_dec'), at('strip_sums'));
      watch.done('update');
    }
  }

  /** Dot products of rows of W_dec with the residuals of every token; and g, if it trains W_dec. */
  private async residualDots(first: number, rows: number): Promise<void> {
    const { arena, kernels, products, form, settings } = this.equipment;
    const columns = this.d.out;
    const wDec = { array: 'W_dec', from: first * columns, rows, columns };
    await products.transposedB(wDec, { array: 'r', rows: this.Bp, columns }, this.matrix(rows, F));
    if (form.rule !== 'gated') return;
    const dp = this.matrix(rows, DP);
    if (form.second && trainsGate(settings)) {
      await products.transposedB(wDec, { array: 'r_aux', rows: this.Bp, columns }, dp);
    } else arena.f32('tile', dp.from, rows * this.Bp).fill(0);
    if (!form.second?.trainsDecoder) return;
    kernels.valueStrip(arena.pointer('step'), arena.pointer('main/block'), first, rows, true, G);
  }

  /** ∂W_dec and ∂W_enc of the rows, if they are trained. */
  private async gradients(rows: number): Promise<void> {
    const { arena, kernels, products, form, settings } = this.equipment;
    const at = (name: string) => arena.pointer(name);
    const of = (array: string, columns: number) => ({ array, rows: this.Bp, columns });
    const { in: dIn, out } = this.d;
    if (settings.trained.includes('W_dec')) {
      await products.plain(this.matrix(rows, F), of('r', out), { array: 'strip_dec', rows, columns: out });
      if (form.second?.trainsDecoder) {
        await products.plain(this.matrix(rows, G), of('r_aux', out), { array: 'strip_aux', rows, columns: out });
        kernels.addTo(at('strip_dec'), at('strip_aux'), 4 * rows * out);
      }
    }
    if (settings.trained.includes('W_enc')) {
      await products.plain(this.matrix(rows, DP), of('xc', dIn), { array: 'strip_enc', rows, columns: dIn });
    }
  }

  /** The n-th matrix of `rows` rows in the tile. */
  private matrix(rows: number, n: typeof P | typeof F | typeof DP | typeof G) {
    return { array: 'tile', from: n * rows * this.Bp, rows, columns: this.Bp };
  }
}

/** Does dπ_gate reach anything that is trained? */
function trainsGate({ trained }: SettledSettings): boolean {
  return (['W_enc', 'b_gate', 'b_dec'] as const).some((name) => trained.includes(name));
}
