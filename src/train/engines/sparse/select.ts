import type { SparseForm } from '../../../sae/architecture.js';
import type { SettledSettings } from '../engine.js';
import { type Kernels, readField, writeBlock } from './kernels.js';
import { LargestOfBatch } from './largest-of-batch.js';
import {
  type Arena,
  candidateCapacity,
  entryLimit,
  LISTS,
  type ListName,
  limitOf,
  limitOfBatch,
  listCapacity,
  padded,
  ROWS_AT_ONCE,
  STRIP,
} from './memory.js';
import type { Products } from './products.js';
import type { Exchange } from './worker-pool.js';

/** Features [first, first + rows) of a slice, processed together. */
export interface Strip {
  readonly first: number;
  readonly rows: number;
}

/** Splits `count` features into strips of at most `most`, from `first` on. */
export function cut(first: number, count: number, most: number): Strip[] {
  const strips: Strip[] = [];
  for (let at = 0; at < count; at += most) strips.push({ first: first + at, rows: Math.min(most, count - at) });
  return strips;
}

/** Parts of a step, named as in the profile. */
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

  /** Attributes the time since the last call to `part`. */
  done(part: Part): void {
    const now = performance.now();
    this.spent[part] += now - this.since;
    this.since = now;
  }

  /** Discards the time since the last call. */
  skip(): void {
    this.since = performance.now();
  }
}

/** The shared objects of a worker. */
export interface Equipment {
  readonly settings: SettledSettings;
  readonly form: SparseForm;
  readonly features: number;
  readonly arena: Arena;
  readonly kernels: Kernels;
  readonly products: Products;
  readonly exchange: Exchange;
  readonly watch: Stopwatch;
}

/** Result for a strip: its entries are listed, or there are too many and its pre-activations are in the tile. */
export type Selected = 'sparse' | 'dense';

/** If a part of a strip has more candidates than this fraction, the rest of the strip uses the float32 product. */
const MOST_OF_PART = 1 / 8;

/**
 * An entry count that a part of the features exceeds for about one token in 10⁶, if the part is like the rest.
 *
 * @param mean average number of the k largest in the part
 */
function almostNever(mean: number): number {
  return Math.floor(mean + 5 * Math.sqrt(mean) + 3);
}

/**
 * Selects the entries of a slice: an int8 product excludes what a rigorous bound can exclude, and the exact float32
 * product decides the rest. If the bound leaves too many candidates, a complete float32 product is computed.
 */
export class Selection {
  private readonly Bp: number;
  private readonly d: number;
  /** Max entries per token, and in total, in each list. */
  private readonly limits: Record<ListName, number>;
  private readonly capacities: Record<ListName, number>;
  /** Features that were dead before the step, in this slice and overall. */
  private dead = 0;
  allDead = 0;
  /** Are thresholds guessed in advance? */
  private guessing = false;
  /** Used if entries of a whole batch are compared. */
  private readonly largest: LargestOfBatch | undefined;

  constructor(private readonly equipment: Equipment) {
    const { settings, form, features, exchange } = equipment;
    const shape = { settings, form, features, workers: exchange.workers };
    this.Bp = padded(settings.batch);
    this.d = padded(settings.dIn);
    this.limits = { main: limitOf(form), dead: form.auxK?.k ?? 0 };
    this.capacities = { main: listCapacity(shape, 'main'), dead: listCapacity(shape, 'dead') };
    const kept = limitOfBatch(form, settings.batch);
    if (kept > 0) this.largest = new LargestOfBatch({ ...equipment, meet: () => this.meet() }, kept);
  }

  /** The smallest of the k largest kept in the last batch; undefined if none was kept. */
  get smallest(): number | undefined {
    return this.largest?.smallest;
  }

  /** Quantises the encoder's input; starts an empty list. */
  begin(guessing: boolean): void {
    const { arena, kernels, settings, watch } = this.equipment;
    this.guessing = guessing && this.limits.main > 0;
    if (this.guessing) arena.f32('guesses').fill(0);
    const at = (name: string) => arena.pointer(name);
    kernels.quantise(at('xc'), settings.batch, at('x_block'));
    // The buffer for received data is used later, so it is free for the transposition now.
    kernels.transposeBytes(at('received'), at('x_q'), settings.batch, this.Bp, this.d);
    kernels.open(at('step'), at('main/block'));
    this.largest?.begin(guessing);
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
    if (this.largest) {
      this.ofBatch({ first, rows }, this.largest);
      return 'sparse';
    }
    if (this.limits.main > 0) {
      this.guess(first, rows);
      await this.byParts({ first, rows });
      return 'sparse';
    }
    const candidates = kernels.screen(step, list, first, 0, rows, candidateCapacity(rows, batch));
    watch.done('select');
    if (candidates < 0) return this.whole({ first, rows });
    // There is room for this many entries: candidates are never allowed to exceed it (memory.ts).
    kernels.exact(step, list, first, 0, rows);
    watch.done('exact');
    return 'sparse';
  }

  /** Appends the entries of a strip that are, or may be, among the largest of the batch so far. */
  private ofBatch({ first, rows }: Strip, largest: LargestOfBatch): void {
    const { arena, kernels, watch, settings } = this.equipment;
    const [step, list] = [arena.pointer('step'), arena.pointer('main/block')];
    for (const part of cut(0, rows, ROWS_AT_ONCE)) {
      largest.makeRoom();
      kernels.screen(step, list, first, part.first, part.first + part.rows, part.rows * settings.batch);
      watch.done('select');
      kernels.exact(step, list, first, part.first, part.first + part.rows);
      watch.done('exact');
    }
  }

  /** Appends the entries of a strip a few features at a time, so that thresholds rise within it. */
  private async byParts({ first, rows }: Strip): Promise<void> {
    const { arena, kernels, watch } = this.equipment;
    const { batch } = this.equipment.settings;
    const [step, list] = [arena.pointer('step'), arena.pointer('main/block')];
    for (const part of cut(0, rows, ROWS_AT_ONCE)) {
      const [from, to] = [part.first, part.first + part.rows];
      const candidates = kernels.screen(step, list, first, from, to, Math.ceil(part.rows * batch * MOST_OF_PART));
      watch.done('select');
      if (candidates < 0) {
        const rest = { first: first + from, rows: rows - from };
        kernels.compact(step, list, await this.product(rest), 0, rest.first, rest.rows);
        watch.done('select');
        return;
      }
      kernels.exact(step, list, first, from, to);
      watch.done('exact');
    }
  }

  /** Guesses thresholds from the first strip, and again whenever the number of earlier features has doubled. */
  private guess(first: number, rows: number): void {
    const { arena, kernels, settings, watch } = this.equipment;
    const k = this.limits.main;
    const m = almostNever(((first || rows) * k) / settings.dSae);
    const doubled = first !== STRIP && Number.isInteger(Math.log2((first || STRIP) / STRIP));
    if (!this.guessing || !doubled || m >= k) return;
    const [step, list, guesses] = [arena.pointer('step'), arena.pointer('main/block'), arena.pointer('guesses')];
    if (first === 0) kernels.guess(step, list, rows, m, guesses);
    else kernels.raise(step, list, m, guesses);
    watch.done('select');
  }

  /** Is a worker's guess not below some token's k-th largest? All workers get the same answer. */
  private guessedWrong(): boolean {
    const { arena, exchange } = this.equipment;
    const floor = arena.f32('main/floor');
    const wrong = arena.f32('guesses').some((guess, b) => guess > 0 && guess >= floor[b]!);
    exchange.numbers(exchange.index)[3] = Number(wrong);
    this.meet();
    return Array.from({ length: exchange.workers }, (_, worker) => exchange.numbers(worker)[3]!).includes(1);
  }

  /** Appends the entries of a strip using its float32 product, unless there are too many. */
  private async whole(strip: Strip): Promise<Selected> {
    const { arena, kernels, watch, settings } = this.equipment;
    const product = await this.product(strip);
    writeBlock(arena, 'main/block', 'Entries', { limit: entryLimit(strip.rows, settings.batch) });
    const [step, list] = [arena.pointer('step'), arena.pointer('main/block')];
    const fits = kernels.compact(step, list, product, 0, strip.first, strip.rows);
    watch.done('select');
    return fits ? 'sparse' : 'dense';
  }

  /**
   * Computes a strip's pre-activations p in float32 into the tile; returns their address.
   *
   * @param array with the strip's rows of W_enc
   */
  async product({ first, rows }: Strip, array = 'W_enc'): Promise<number> {
    await this.equipment.products.transposedB(
      { array, from: first * this.d, rows, columns: this.d },
      { array: 'xc', rows: this.Bp, columns: this.d },
      { array: 'tile', rows, columns: this.Bp },
    );
    this.equipment.watch.done('product');
    return this.equipment.arena.pointer('tile');
  }

  /** Features that are dead before the step, in this slice and overall. */
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

  /**
   * Lists the entries of dead features using their float32 product: k of them is too large a share for a screen to
   * help.
   */
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
      const product = await this.product({ first: 0, rows: strip.rows }, 'dead_rows');
      kernels.compact(step, list, product, arena.pointer('dead') + 4 * strip.first, 0, strip.rows);
      watch.done('select');
    }
  }

  /** Makes room for a complete strip by dropping entries no longer among the k largest. */
  private makeRoom(list: ListName, rows: number): void {
    const { arena, kernels, settings } = this.equipment;
    const listed = readField(arena, `${list}/block`, 'Entries', 'count');
    if (listed + rows * settings.batch <= this.capacities[list]) return;
    this.findFloor(list);
    kernels.prune(arena.pointer('step'), arena.pointer(`${list}/block`));
  }

  /** The k-th largest in this slice. */
  private findFloor(list: ListName): void {
    const at = (name: string) => this.equipment.arena.pointer(`${list}/${name}`);
    const { batch } = this.equipment.settings;
    this.equipment.kernels.findFloor(at('top'), 1, batch, this.limits[list], at('floor'), at('ties'));
  }

  /**
   * Ends a list: keeps the k largest of each token found by all workers.
   *
   * @returns whether it includes them all; if not, it must be rebuilt without guessing
   */
  settle(list: ListName): boolean {
    const { arena, kernels, exchange, watch } = this.equipment;
    const [step, block] = [arena.pointer('step'), arena.pointer(`${list}/block`)];
    if (list === 'main' && this.largest && !this.largest.settle()) return false;
    // With at most k dead features, all entries are kept.
    if (this.limits[list] > 0 && (list === 'main' || this.allDead > this.limits.dead)) {
      if (exchange.workers === 1) this.findFloor(list);
      else this.shareFloors(list);
      if (list === 'main' && this.guessing && this.guessedWrong()) return false;
      kernels.prune(step, block);
    }
    kernels.close(step, block);
    watch.done('select');
    return true;
  }

  /**
   * Each worker finds the k-th largest for its rows of the batch among all workers' results, and reports it to the
   * others.
   */
  private shareFloors(list: ListName): void {
    const { arena, kernels, exchange, watch, settings } = this.equipment;
    const all = [0, settings.batch] as const;
    const mine = exchange.range();
    const rows = mine[1] - mine[0];
    const [number, k] = [LISTS.indexOf(list), this.limits[list]];
    exchange.top(number, exchange.index, all).set(arena.f32(`${list}/top`, 0, settings.batch * k));
    this.meet();
    for (let worker = 0; worker < exchange.workers; worker++) {
      arena.f32('heaps', worker * rows * k, rows * k).set(exchange.top(number, worker, mine));
    }
    const floor = arena.pointer(`${list}/floor`) + 4 * mine[0];
    kernels.findFloor(arena.pointer('heaps'), exchange.workers, rows, k, floor, arena.pointer('heap_ties'));
    exchange.floor(number, mine).set(arena.f32(`${list}/floor`, mine[0], rows));
    for (let worker = 0; worker < exchange.workers; worker++) {
      exchange.ties(number, worker, mine).set(arena.view('u32', 'heap_ties', worker * rows, rows));
    }
    this.meet();
    arena.f32(`${list}/floor`).set(exchange.floor(number, all));
    arena.u32(`${list}/ties`).set(exchange.ties(number, exchange.index, all));
    watch.done('exchange');
  }

  private meet(): void {
    this.equipment.watch.done('exchange');
    this.equipment.exchange.barrier();
    this.equipment.watch.done('waiting');
  }
}
