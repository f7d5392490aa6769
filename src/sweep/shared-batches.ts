import type { ActivationArray } from '../activations/arrow-files.js';

/** Batches that the quickest reader may be ahead of the slowest: so many are in memory at most. */
const LEAD = 8;

/**
 * Batches read once and taken by several readers, each in order from where it stands. A reader that is far ahead waits
 * for the slowest; one that leaves is waited for no more.
 */
export class SharedBatches {
  /** Batches in memory, by number: those that a reader has yet to take. */
  readonly held = new Map<number, Promise<ActivationArray>>();
  private readonly positions: number[];
  private dealt: number;
  private waiting: (() => void)[] = [];
  private last: Promise<unknown> = Promise.resolve();

  /**
   * @param read gives the next batch; it stands at batch min(positions)
   * @param positions the next batch of each reader
   */
  constructor(
    private readonly read: () => Promise<ActivationArray>,
    positions: readonly number[],
    private readonly lead = LEAD,
  ) {
    this.positions = [...positions];
    this.dealt = this.slowest();
  }

  /** The next batch of reader `reader`. Every reader of it gets the same array and must not write to it. */
  async next(reader: number): Promise<ActivationArray> {
    const index = this.positions[reader]!;
    while (index - this.slowest() >= this.lead) await new Promise<void>((resolve) => this.waiting.push(resolve));
    while (this.dealt <= index) {
      const batch = this.last.then(() => this.read());
      this.last = batch;
      // Who waits for it is told; when all have left, nobody is.
      batch.catch(() => {});
      // What nobody needs any more, after the slowest has left, is only passed over.
      if (this.dealt >= this.slowest()) this.held.set(this.dealt, batch);
      this.dealt++;
    }
    const batch = await this.held.get(index)!;
    this.move(reader, index + 1);
    return batch;
  }

  /** The reader takes no more. */
  leave(reader: number): void {
    this.move(reader, Number.POSITIVE_INFINITY);
  }

  private move(reader: number, position: number): void {
    this.positions[reader] = position;
    const slowest = this.slowest();
    for (const index of this.held.keys()) if (index < slowest) this.held.delete(index);
    const waiting = this.waiting;
    this.waiting = [];
    for (const wake of waiting) wake();
  }

  private slowest(): number {
    return Math.min(...this.positions);
  }
}
