import { type Kernels, readField, writeBlock } from './kernels.js';
import { type Arena, roomOfBatch, TALLIES } from './memory.js';
import type { Exchange } from './worker-pool.js';

/**
 * Digits of a float32 from the highest on: positive floats are ordered like their bits. Their sign bit is zero, so 31
 * bits remain.
 */
const DIGITS = [
  { shift: 20, width: 11 },
  { shift: 10, width: 10 },
  { shift: 0, width: 10 },
] as const;
/** The guess for the next batch's smallest, as a relative distance below the last one's: initial value and bounds. */
const MARGIN = { first: 0.05, least: 0.02, most: 0.5 };
/** It shrinks slowly, and doubles when the guess was wrong: about one guess in a hundred is. */
const SHRINKING = 0.99;

/** The parts of a worker that the selection needs. */
interface Worker {
  readonly arena: Arena;
  readonly kernels: Kernels;
  readonly exchange: Exchange;
  /** Waits for the other workers. */
  meet(): void;
}

/** The m-th largest of a list, or of those of all workers. */
interface Found {
  readonly floor: number;
  /** How many of this worker's entries may equal it. */
  readonly ties: number;
  /** Number of entries. */
  readonly total: number;
}

/**
 * The k · B largest pre-activations of a batch, over all workers, exactly. An entry is listed if it is above `least`, a
 * guess from the previous batch that rises to the k · B-th largest of this worker's list whenever that grows too long.
 * In the end, all workers count the digits of their entries, and find the k · B-th largest overall. If fewer are above
 * the guess, they select again without one. The guess affects what is computed, never the result.
 */
export class LargestOfBatch {
  private least = 0;
  private guess = 0;
  private margin: number = MARGIN.first;
  private attempt = 0;
  /** The smallest value kept in the last batch; undefined if none was above 0. */
  smallest: number | undefined;

  constructor(
    private readonly worker: Worker,
    /** k · B */
    private readonly wanted: number,
  ) {}

  begin(guessing: boolean): void {
    this.attempt = guessing ? 0 : 1;
    this.rise(guessing ? this.guess : 0);
  }

  /** Drops entries that are no longer among the largest, if there are too many to add more. */
  makeRoom(): void {
    const { arena } = this.worker;
    if (readField(arena, 'main/block', 'Entries', 'count') <= roomOfBatch(this.wanted)) return;
    const { floor, ties } = this.find()!;
    this.prune(floor, ties);
    this.rise(floor);
  }

  /**
   * Keeps the k · B largest found by all workers.
   *
   * @returns whether the lists include them all; if not, the lists must be rebuilt without a guess
   */
  settle(): boolean {
    const guessed = this.attempt === 0 && this.guess > 0;
    const found = this.find(guessed ? this.wanted : 1);
    this.smallest = found?.floor;
    if (guessed) this.margin = Math.max(MARGIN.least, this.margin * SHRINKING);
    if (guessed && !found) {
      this.margin = Math.min(MARGIN.most, 2 * this.margin);
      return false;
    }
    const full = found !== undefined && found.total >= this.wanted && Number.isFinite(found.floor);
    this.guess = full ? found.floor * (1 - this.margin) : 0;
    if (found) this.prune(found.floor, found.ties);
    return true;
  }

  private rise(least: number): void {
    this.least = least;
    writeBlock(this.worker.arena, 'main/block', 'Entries', { least });
  }

  private prune(floor: number, ties: number): void {
    const { arena, kernels } = this.worker;
    arena.f32('main/floor')[0] = floor;
    arena.u32('main/ties')[0] = ties;
    kernels.prune(arena.pointer('step'), arena.pointer('main/block'));
  }

  /**
   * The k · B-th largest, or the smallest of fewer, digit by digit.
   *
   * @param shared at least this many entries over all workers; only this worker's if absent
   * @returns undefined if there are fewer
   */
  private find(shared?: number): Found | undefined {
    const { exchange } = this.worker;
    const me = shared === undefined ? 0 : exchange.index;
    let [prefix, left, total] = [0, 0, 0];
    let equal: number[] = [];
    for (const [round, { shift, width }] of DIGITS.entries()) {
      const tallies = this.tally(prefix, shift, width, shared === undefined ? undefined : round);
      const of = (digit: number) => tallies.map((counts) => counts[digit]!);
      if (round === 0) {
        total = tallies.reduce((sum, counts) => counts.reduce((a, b) => a + b, sum), 0);
        if (total < (shared ?? 1)) return undefined;
        left = Math.min(this.wanted, total);
      }
      let digit = 2 ** width - 1;
      for (; ; digit--) {
        equal = of(digit);
        const here = equal.reduce((a, b) => a + b, 0);
        if (here >= left) break;
        left -= here;
      }
      prefix = prefix * 2 ** width + digit;
    }
    const before = equal.slice(0, me).reduce((a, b) => a + b, 0);
    const ties = Math.max(0, Math.min(equal[me]!, left - before));
    return { floor: floatOf(prefix), ties, total };
  }

  /** Number of entries for each value of a digit, given the higher digits; over all workers, in one round. */
  private tally(prefix: number, shift: number, width: number, round?: number): readonly Uint32Array[] {
    const { arena, kernels, exchange } = this.worker;
    const counts = arena.view('u32', 'tally', 0, 2 ** width).fill(0);
    const [step, list] = [arena.pointer('step'), arena.pointer('main/block')];
    kernels.tally(step, list, prefix, shift, width, arena.pointer('tally'));
    if (round === undefined || exchange.workers === 1) return [counts];
    // Others may still be reading what the first attempt shared.
    const slot = round === 0 && this.attempt === 1 ? TALLIES - 1 : round;
    const all = Array.from({ length: exchange.workers }, (_, worker) => exchange.tally(worker, slot));
    all[exchange.index]!.set(counts);
    this.worker.meet();
    return all.map((shared) => shared.subarray(0, 2 ** width));
  }
}

function floatOf(bits: number): number {
  return new Float32Array(Uint32Array.of(bits).buffer)[0]!;
}
