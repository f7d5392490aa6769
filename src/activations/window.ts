import type { Context } from '../corpus/contexts.js';
import { Generator, Purpose } from '../random/generator.js';
import { type ActivationArray, allocateRows, type Rows } from './arrow-files.js';
import type { ActivationDType } from './manifest.js';

/**
 * Rows of several forward passes, held as they arrived until they are cut into shards in random order. A window spans
 * whole forward passes, so that resuming at its start repeats the same passes and gives the same bytes.
 */
export class Window {
  readonly contexts: Context[] = [];
  /** Σ|x| over the rows. */
  normSum = 0;
  rows = 0;
  private readonly blocks: { first: number; rows: Rows }[] = [];

  constructor(
    readonly index: number,
    private readonly d: number,
    private readonly dtype: ActivationDType,
  ) {}

  /** Adds the rows of one forward pass; `rows` is kept, not copied. */
  add(rows: Rows, norms: Float32Array): void {
    this.addBlock(rows);
    for (const norm of norms) this.normSum += norm;
  }

  /** Puts back the rows of an interrupted window, the pieces of `inOrder`. */
  restore(pieces: readonly Rows[], normSum: number): void {
    for (const rows of pieces) this.addBlock(rows);
    this.normSum = normSum;
  }

  /** Lets go of the rows and contexts, which may be gigabytes, whoever still holds the window. */
  release(): void {
    this.blocks.length = 0;
    this.contexts.length = 0;
  }

  private addBlock(rows: Rows): void {
    this.blocks.push({ first: this.rows, rows });
    this.rows += rows.token.length;
  }

  /** Rows in the order of arrival, in pieces of at most `most` rows. */
  *inOrder(most: number): Iterable<Rows> {
    yield* this.cut(
      Uint32Array.from({ length: this.rows }, (_, row) => row),
      most,
    );
  }

  /** Cuts the window into shards of at most `rowsPerShard` rows, in an order set by (seed, window). */
  *shards(rowsPerShard: number, seed: number): Iterable<Rows> {
    yield* this.cut(new Generator(seed, Purpose.windowOrder, this.index).permutation(this.rows), rowsPerShard);
  }

  /** The rows named by `order`, copied into pieces of at most `most`. */
  private *cut(order: Uint32Array, most: number): Iterable<Rows> {
    const blockOf = new Uint32Array(this.rows);
    for (const [i, { first, rows }] of this.blocks.entries()) blockOf.fill(i, first, first + rows.token.length);
    for (let start = 0; start < this.rows; start += most) {
      const picked = order.subarray(start, Math.min(start + most, this.rows));
      const shard = allocateRows(picked.length, this.d, this.dtype);
      for (const [to, row] of picked.entries()) {
        const { first, rows } = this.blocks[blockOf[row]!]!;
        copyRow(rows, row - first, shard, to, this.d);
      }
      yield shard;
    }
  }
}

function copyRow(source: Rows, from: number, target: Rows, to: number, d: number): void {
  const row = source.activation.subarray(from * d, (from + 1) * d);
  (target.activation as ActivationArray).set(row, to * d);
  target.token[to] = source.token[from]!;
  target.context[to] = source.context[from]!;
  target.pos[to] = source.pos[from]!;
}
