import type { ActivationArray, Rows } from './arrow-files.js';
import { fromBfloat16 } from './bfloat16.js';
import { type ActivationDType, rowBytes } from './manifest.js';

/** Rows held in memory at once, at most, for mixing. */
export const POOL_ROWS = 2 ** 20;
export const POOL_BYTES = 2 * 2 ** 30;

/** Bytes of a row's place in a pool: its piece, and its place in the order. */
export const ORDER_BYTES = 8;

/** Rows that a pool may hold: as many as are asked for and fit POOL_BYTES, at least one. */
export function poolRowsWithin(asked: number, row: { readonly d_in: number; readonly dtype: ActivationDType }): number {
  return Math.max(1, Math.min(asked, Math.floor(POOL_BYTES / rowBytes(row))));
}

/** Rows in memory, in pieces as they came, and the order in which they are dealt. */
export class Pool {
  readonly size: number;
  /** [size] piece of each row. */
  private readonly pieceOf: Uint32Array;
  private readonly firstOf: number[] = [];

  /** @param order [size] rows counted through all pieces; as they lie where it is not given */
  constructor(
    readonly pieces: readonly Rows[],
    private readonly order?: Uint32Array,
  ) {
    this.size = pieces.reduce((sum, { token }) => sum + token.length, 0);
    this.pieceOf = new Uint32Array(this.size);
    let first = 0;
    for (const [i, { token }] of pieces.entries()) {
      this.firstOf.push(first);
      this.pieceOf.fill(i, first, first + token.length);
      first += token.length;
    }
  }

  /** Copies the activations of rows `from` … `from + count` − 1 of the order into `batch`, from its row `at` on. */
  deal(from: number, count: number, batch: ActivationArray, at: number, d: number): void {
    for (let i = 0; i < count; i++) {
      const row = this.order ? this.order[from + i]! : from + i;
      const piece = this.pieceOf[row]!;
      const start = (row - this.firstOf[piece]!) * d;
      batch.set(this.pieces[piece]!.activation.subarray(start, start + d), (at + i) * d);
    }
  }
}

/** Memory for a batch of `size` rows of a source: `into` where it is just that. */
export function newBatch(size: number, d: number, dtype: ActivationDType, into?: ActivationArray): ActivationArray {
  if (into?.length === size * d && into instanceof Float32Array === (dtype === 'float32')) return into;
  return dtype === 'float32' ? new Float32Array(size * d) : new Uint16Array(size * d);
}

/** A batch as training takes it: float16 bits and float32 as they are, bfloat16 widened to float32. */
export function forTraining(batch: ActivationArray, dtype: ActivationDType): ActivationArray {
  if (dtype !== 'bfloat16') return batch;
  const wide = new Float32Array(batch.length);
  fromBfloat16(batch as Uint16Array, wide);
  return wide;
}
