import type { SparseForm } from '../../../sae/architecture.js';
import type { EngineSettings } from '../engine.js';
import type { Exchange } from './crew.js';
import { type Kernels, readField } from './kernels.js';
import {
  type Arena,
  candidateCapacity,
  entryLimit,
  LISTS,
  type ListName,
  limitOf,
  listCapacity,
  padded,
  STRIP,
} from './memory.js';
import type { Products } from './products.js';

/** Features [first, first + rows) of a slice, visited at once. */
export interface Strip {
  readonly first: number;
  readonly rows: number;
}

/** `count` features cut into strips of at most `most`, from `first` on. */
export function cut(first: number, count: number, most: number): Strip[] {
  const strips: Strip[] = [];
  for (let at = 0; at < count; at += most) strips.push({ first: first + at, rows: Math.min(most, count - at) });
  return strips;
}

/** Parts of a step, as the profile names them. */
export const PARTS = [
  'prepare',
  'product',
  'select',
  'exact',
  'regroup',
  'decode',
  'exchange',
  'waiting',
  'update',
] as const;
export type Part = (typeof PARTS)[number];

/** Milliseconds spent in each part. */
export type Profile = Record<Part, number>;

/** A stopwatch that is always in one part. */
export class Stopwatch {
  readonly spent = Object.fromEntries(PARTS.map((part) => [part, 0])) as Profile;
  private since = performance.now();

  /** What happened since the last call was `part`. */
  done(part: Part): void {
    const now = performance.now();
    this.spent[part] += now - this.since;
    this.since = now;
  }

  /** What happened since the last call belongs to no step. */
  skip(): void {
    this.since = performance.now();
  }
}

/** What a worker works on, and with. */
export interface Equipment {
  readonly settings: EngineSettings;
  readonly form: SparseForm;
  readonly features: number;
  readonly arena: Arena;
  readonly kernels: Kernels;
  readonly products: Products;
  readonly exchange: Exchange;
  readonly watch: Stopwatch;
}

/** What became of a strip: its entries are listed, or there are too many and its pre-activations lie in the tile. */
export type Selected = 'sparse' | 'dense';

/** Features between two looks at the k-th largest. */
const ROWS_AT_ONCE = 32;

/**
 * Selects the entries of a slice: an int8 product excludes what a rigorous bound can exclude, and the exact float32
 * product decides the rest. Where the bound leaves too many candidates, a float32 product of all is made.
 */
export class Selection {
  private readonly Bp: number;
  private readonly d: number;
  /** Most entries of a token, and of all, in each list. */
  private readonly limits: Record<ListName, number>;
  private readonly capacities: Record<ListName, number>;
  /** Features that were dead before the step, of this slice and of all. */
  private dead = 0;
  allDead = 0;

  constructor(private readonly equipment: Equipment) {
    const { settings, form, features, exchange } = equipment;
    const shape = { settings, form, features, workers: exchange.workers };
    this.Bp = padded(settings.batch);
    this.d = padded(settings.dIn);
    this.limits = { main: limitOf(form), dead: form.auxK?.k ?? 0 };
    this.capacities = { main: listCapacity(shape, 'main'), dead: listCapacity(shape, 'dead') };
  }

  /** Quantises the encoder's input; begins an empty list. */
  begin(): void {
    const { arena, kernels, settings, watch } = this.equipment;
    const at = (name: string) => arena.pointer(name);
    kernels.quantise(at('xc'), settings.batch, at('x_block'));
    // What is received comes later, and lends its room to the rows that are now turned into columns.
    kernels.transposeBytes(at('received'), at('x_q'), settings.batch, this.Bp, this.d);
    kernels.open(at('step'), at('main/block'));
    watch.done('prepare');
  }

  /** Appends the entries of the next strip. */
  async strip({ first, rows }: Strip): Promise<Selected> {
    const { arena, kernels, watch } = this.equipment;
    const { batch } = this.equipment.settings;
    const [step, list] = [arena.pointer('step'), arena.pointer('main/block')];
    if (this.limits.main > 0) this.makeRoom('main', rows);
    kernels.quantise(arena.pointer('W_enc') + 4 * first * this.d, rows, arena.pointer('w_block'));
    await this.equipment.products.integer(
      { array: 'w_q', rows, columns: this.d },
      { array: 'x_q', rows: this.d, columns: this.Bp },
      { array: 'tile', rows, columns: this.Bp },
    );
    watch.done('product');
    for (const part of cut(0, rows, this.limits.main > 0 ? ROWS_AT_ONCE : rows)) {
      const [from, to] = [part.first, part.first + part.rows];
      const candidates = kernels.screen(step, list, first, from, to, candidateCapacity(part.rows, batch));
      watch.done('select');
      if (candidates < 0) return this.whole({ first: first + from, rows: rows - from });
      // There is room for as many entries: candidates are never allowed to be more (memory.ts).
      kernels.exact(step, list, first, from, to);
      watch.done('exact');
    }
    return 'sparse';
  }

  /** Appends the entries of a strip by its float32 product, unless they are too many. */
  private async whole(strip: Strip): Promise<Selected> {
    const { arena, kernels, watch, settings } = this.equipment;
    const [step, list] = [arena.pointer('step'), arena.pointer('main/block')];
    await this.product(strip);
    const limit = entryLimit(strip.rows, settings.batch);
    const fits = kernels.compact(step, list, 0, strip.first, strip.rows, limit);
    watch.done('select');
    return fits ? 'sparse' : 'dense';
  }

  /** The strip's pre-activations p in float32, into the tile. */
  async product({ first, rows }: Strip, array = 'W_enc'): Promise<void> {
    await this.equipment.products.transposedB(
      { array, from: first * this.d, rows, columns: this.d },
      { array: 'xc', rows: this.Bp, columns: this.d },
      { array: 'tile', rows, columns: this.Bp },
    );
    this.equipment.watch.done('product');
  }

  /** Features that are dead before the step, in this slice and in all. */
  countDead(): void {
    const { arena, exchange, settings } = this.equipment;
    const features = arena.u32('dead');
    this.dead = 0;
    arena.f32('since_fired').forEach((since, j) => {
      if (since >= settings.deadWindow) features[this.dead++] = j;
    });
    exchange.numbers(exchange.index)[0] = this.dead;
    this.meet();
    this.allDead = 0;
    for (let worker = 0; worker < exchange.workers; worker++) this.allDead += exchange.numbers(worker)[0]!;
  }

  /** Lists the entries of dead features by their float32 product: k of them is no small part, which a screen would find. */
  async listDead(): Promise<void> {
    const { arena, kernels, watch } = this.equipment;
    const [step, list] = [arena.pointer('step'), arena.pointer('dead/block')];
    kernels.open(step, list);
    const features = arena.u32('dead');
    const rows = arena.f32('dead_rows');
    for (const strip of cut(0, this.dead, Math.min(STRIP, this.equipment.features))) {
      this.makeRoom('dead', strip.rows);
      for (let row = 0; row < strip.rows; row++) {
        rows.set(arena.f32('W_enc', features[strip.first + row]! * this.d, this.d), row * this.d);
      }
      await this.product({ first: 0, rows: strip.rows }, 'dead_rows');
      kernels.compact(step, list, arena.pointer('dead') + 4 * strip.first, 0, strip.rows, 0);
      watch.done('select');
    }
  }

  /** Makes room for all of a strip by dropping entries that are not among the k largest any more. */
  private makeRoom(list: ListName, rows: number): void {
    const { arena, kernels, settings } = this.equipment;
    const listed = readField(arena, `${list}/block`, 'Entries', 'count');
    if (listed + rows * settings.batch <= this.capacities[list]) return;
    this.findFloor(list);
    kernels.prune(arena.pointer('step'), arena.pointer(`${list}/block`));
  }

  /** The k-th largest of this slice. */
  private findFloor(list: ListName): void {
    const at = (name: string) => this.equipment.arena.pointer(`${list}/${name}`);
    const { batch } = this.equipment.settings;
    this.equipment.kernels.findFloor(at('top'), 1, batch, this.limits[list], at('floor'), at('ties'));
  }

  /** Ends the lists: of what all workers found, the k largest of each token stay. */
  settle(): void {
    const { arena, kernels, exchange, watch } = this.equipment;
    // Of no more dead features than k, all entries stay.
    const lists = LISTS.filter((list) => this.limits[list] > 0 && (list === 'main' || this.allDead > this.limits.dead));
    if (exchange.workers === 1) for (const list of lists) this.findFloor(list);
    else if (lists.length > 0) this.shareFloors(lists);
    const step = arena.pointer('step');
    for (const list of lists) kernels.prune(step, arena.pointer(`${list}/block`));
    kernels.close(step, arena.pointer('main/block'));
    if (this.allDead > 0) kernels.close(step, arena.pointer('dead/block'));
    watch.done('select');
  }

  /** Each worker finds the k-th largest of its rows of the batch in what all have found, and tells the others. */
  private shareFloors(lists: readonly ListName[]): void {
    const { arena, kernels, exchange, watch, settings } = this.equipment;
    const all = [0, settings.batch] as const;
    const mine = exchange.range();
    const rows = mine[1] - mine[0];
    for (const list of lists) {
      const heaps = arena.f32(`${list}/top`, 0, settings.batch * this.limits[list]);
      exchange.top(LISTS.indexOf(list), exchange.index, all).set(heaps);
    }
    this.meet();
    for (const list of lists) {
      const [number, k] = [LISTS.indexOf(list), this.limits[list]];
      for (let worker = 0; worker < exchange.workers; worker++) {
        arena.f32('heaps', worker * rows * k, rows * k).set(exchange.top(number, worker, mine));
      }
      const floor = arena.pointer(`${list}/floor`) + 4 * mine[0];
      kernels.findFloor(arena.pointer('heaps'), exchange.workers, rows, k, floor, arena.pointer('heap_ties'));
      exchange.floor(number, mine).set(arena.f32(`${list}/floor`, mine[0], rows));
      for (let worker = 0; worker < exchange.workers; worker++) {
        exchange.ties(number, worker, mine).set(arena.view('u32', 'heap_ties', worker * rows, rows));
      }
    }
    this.meet();
    for (const list of lists) {
      arena.f32(`${list}/floor`).set(exchange.floor(LISTS.indexOf(list), all));
      arena.u32(`${list}/ties`).set(exchange.ties(LISTS.indexOf(list), exchange.index, all));
    }
    watch.done('exchange');
  }

  private meet(): void {
    this.equipment.watch.done('exchange');
    this.equipment.exchange.barrier();
    this.equipment.watch.done('waiting');
  }
}
