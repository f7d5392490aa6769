import type { ActivationDType } from './manifest.js';
import { bytesOfRows, type Rows, rowsIn } from './rows.js';

/**
 * Memory for at most `most` shards at a time that are being written, of any stores. It is reused from shard to shard:
 * allocating new memory takes as long as copying the rows into it.
 */
export class ShardMemory {
  private readonly spare: ArrayBufferLike[] = [];
  private readonly waiting: (() => void)[] = [];
  private free: number;

  /** @param shared by threads? */
  constructor(
    most: number,
    private readonly shared = false,
  ) {
    this.free = most;
  }

  /**
   * Waits until another shard may be cut, and cuts it into memory from `rows`. It occupies its place until `end` is
   * called.
   *
   * @param cut returns undefined if there are no more
   */
  async inTurn(cut: () => Rows | undefined): Promise<Rows | undefined> {
    if (this.free > 0) this.free--;
    else await new Promise<void>((resolve) => this.waiting.push(resolve));
    let shard: Rows | undefined;
    try {
      shard = cut();
      return shard;
    } finally {
      if (!shard) this.end();
    }
  }

  /** Memory for `count` rows: that of an earlier shard if it is large enough, otherwise new memory in its place. */
  rows(count: number, d: number, dtype: ActivationDType): Rows {
    const bytes = bytesOfRows(count, d, dtype);
    const at = this.spare.findIndex(({ byteLength }) => byteLength >= bytes);
    const [fits] = at < 0 ? [] : this.spare.splice(at, 1);
    if (!fits) this.spare.pop();
    return rowsIn(fits ?? new (this.shared ? SharedArrayBuffer : ArrayBuffer)(bytes), count, d, dtype);
  }

  /** @param shard memory from `rows`, to be reused */
  end(shard?: Rows): void {
    if (shard) this.spare.push(shard.activation.buffer);
    const next = this.waiting.shift();
    if (next) next();
    else this.free++;
  }
}
