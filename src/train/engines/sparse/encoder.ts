import type { EngineSettings } from '../engine.js';
import type { Arena } from './arena.js';
import type { Kernels } from './kernels.js';
import type { Products } from './products.js';
import type { Stopwatch } from './profile.js';
import { candidateCapacity, entryLimit, padded } from './slice-plan.js';
import type { Strip } from './strip.js';

/** What became of a strip: its entries are listed, or there are too many and its pre-activations lie in the tile. */
export type Encoded = 'sparse' | 'dense';

/**
 * Finds the active entries of a slice: an int8 product excludes what a rigorous bound can exclude, and the exact float32
 * product decides the rest. Where the bound leaves too many candidates, the whole strip's float32 product is made.
 */
export class Encoder {
  private readonly gated: boolean;
  private readonly B: number;
  private readonly Bp: number;
  private readonly d: number;
  /** Widening of the bound for float32 roundings, relative to |x||w|. */
  private readonly wide: number;
  /** Entries listed so far. */
  private entries = 0;

  constructor(
    settings: EngineSettings,
    private readonly arena: Arena,
    private readonly kernels: Kernels,
    private readonly products: Products,
    private readonly watch: Stopwatch,
  ) {
    this.gated = settings.architecture === 'gated';
    this.B = settings.batch;
    this.Bp = padded(settings.batch);
    this.d = padded(settings.dIn);
    // A lane of the exact product sums d / 4 terms, each off by at most 2⁻²⁴ relative; twice that, and some for the rest.
    this.wide = (this.d / 4 + 16) * 2 ** -23;
  }

  /** Quantises the centred batch in `xc`; begins an empty list. */
  begin(): void {
    const { arena, kernels, B, Bp, d } = this;
    const at = (name: string) => arena.pointer(name);
    this.entries = 0;
    // r is not in use yet, and lends its room to the rows that are then turned into columns.
    const rows = at('r');
    kernels.quantise(at('xc'), B, d, this.products.levels, 0, rows, at('x_inverse'), at('x_error'), at('x_length'));
    kernels.transposeBytes(rows, at('x_q'), B, Bp, d);
    this.watch.done('prepare');
  }

  /** Appends the entries of the next strip. */
  async strip(strip: Strip): Promise<Encoded> {
    const { arena, kernels, watch, B, Bp, d } = this;
    const { first, rows } = strip;
    const at = (name: string) => arena.pointer(name);
    const of = (name: string) => at(name) + 4 * first;
    const bias = of(this.gated ? 'b_gate' : 'b_enc');
    const w = at('W_enc') + 4 * first * d;
    const [entryStart, token, p] = [of('entry_start'), at('token'), at('p')];

    kernels.quantise(w, rows, d, 127, 128, at('w_q'), at('w_inverse'), at('w_error'), at('w_length'));
    await this.products.integer(
      { array: 'w_q', rows, columns: d },
      { array: 'x_q', rows: d, columns: Bp },
      { array: 'tile', rows, columns: Bp },
    );
    watch.done('product');
    const candidates = kernels.screen(
      at('tile'),
      rows,
      B,
      Bp,
      bias,
      at('w_inverse'),
      at('w_error'),
      at('w_length'),
      at('x_inverse'),
      at('x_error'),
      at('x_length'),
      this.wide,
      at('candidate_start'),
      at('candidates'),
      candidateCapacity(rows, B),
    );
    watch.done('select');

    let entries: number;
    if (candidates >= 0) {
      // There is room for as many entries: candidates are never allowed to be more (slice-plan.ts).
      const [start, list] = [at('candidate_start'), at('candidates')];
      entries = kernels.encode(w, rows, at('xc'), d, start, list, bias, entryStart, token, p, this.entries);
      watch.done('exact');
    } else {
      await this.product(strip);
      entries = kernels.compact(at('tile'), rows, B, Bp, bias, entryStart, token, p, this.entries, entryLimit(rows, B));
      watch.done('select');
    }
    if (entries >= 0) this.entries = entries;
    else arena.u32('entry_start').fill(this.entries, first, first + rows);
    arena.u32('entry_start')[first + rows] = this.entries;
    return entries < 0 ? 'dense' : 'sparse';
  }

  /** The strip's pre-activations p in float32, into the first half of the tile. */
  async product({ first, rows }: Strip, from = 0): Promise<void> {
    const { d, Bp } = this;
    await this.products.transposedB(
      { array: 'W_enc', from: first * d, rows, columns: d },
      { array: 'xc', rows: Bp, columns: d },
      { array: 'tile', from, rows, columns: Bp },
    );
    this.watch.done('product');
  }
}
