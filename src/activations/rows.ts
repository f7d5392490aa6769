import { createHash } from 'node:crypto';
import { firstNotFinite, widen } from '../safetensors/floats.js';
import type { ActivationDType } from './manifest.js';

/** Entries of `dtype` in memory: bits for the 16-bit types. */
export type ActivationArray = Uint16Array | Float32Array;

/** Rows of a store, column by column. */
export interface Rows {
  /** [rows × d_in], row by row. */
  readonly activation: ActivationArray;
  /** [rows] token at the position. */
  readonly token: Int32Array;
  /** [rows] index of the context. */
  readonly context: Uint32Array;
  /** [rows] position in the context, whose leading BOS is at 0. */
  readonly pos: Uint32Array;
}

/** Rows as read by training: with their targets, if those are not the input. */
export interface Examples extends Rows {
  /** [rows × d_out] activations of another hook at the same positions */
  readonly target?: ActivationArray;
}

/** Buffers of rows, each once, for transfer to another thread. */
export function buffersOf({ activation, target, token, context, pos }: Examples): ArrayBuffer[] {
  const columns = [activation, ...(target ? [target] : []), token, context, pos];
  return [...new Set(columns.map(({ buffer }) => buffer as ArrayBuffer))];
}

/** Memory for `rows` rows. */
export function allocateRows(rows: number, d: number, dtype: ActivationDType): Rows {
  return rowsIn(new ArrayBuffer(bytesOfRows(rows, d, dtype)), rows, d, dtype);
}

/** Bytes of the activations of `rows` rows, so that what follows them begins at a multiple of its size. */
const activationBytes = (rows: number, d: number, dtype: ActivationDType) =>
  dtype === 'float32' ? 4 * rows * d : 4 * Math.ceil((rows * d) / 2);

/** Bytes of memory for `rows` rows. */
export const bytesOfRows = (rows: number, d: number, dtype: ActivationDType): number =>
  activationBytes(rows, d, dtype) + 12 * rows;

/** Memory for `rows` rows at the beginning of a buffer, of bytesOfRows at least. */
export function rowsIn(buffer: ArrayBufferLike, rows: number, d: number, dtype: ActivationDType): Rows {
  const end = activationBytes(rows, d, dtype);
  return {
    activation: dtype === 'float32' ? new Float32Array(buffer, 0, rows * d) : new Uint16Array(buffer, 0, rows * d),
    token: new Int32Array(buffer, end, rows),
    context: new Uint32Array(buffer, end + 4 * rows, rows),
    pos: new Uint32Array(buffer, end + 8 * rows, rows),
  };
}

/**
 * SHA-256 over the token, context and pos of rows, in order, independent of how they are split. It identifies the text
 * that the rows came from. Activations are not included: their last bits differ between machines.
 */
export class RowsHash {
  private readonly columns = {
    token: createHash('sha256'),
    context: createHash('sha256'),
    pos: createHash('sha256'),
  };

  add(rows: Rows): void {
    for (const [name, hash] of Object.entries(this.columns)) hash.update(rows[name as keyof typeof this.columns]);
  }

  /** The hash of everything added so far; more may be added. */
  digest(): string {
    const whole = createHash('sha256');
    for (const hash of Object.values(this.columns)) whole.update(hash.copy().digest());
    return whole.digest('hex');
  }
}

/**
 * Location of the first value that is not finite, for messages: "row 17 (context 5, position 12) contains NaN";
 * undefined if there is none.
 *
 * @param before rows of the source before these
 */
export function notFiniteRow(
  { activation, token, context, pos }: Rows,
  dtype: ActivationDType,
  before = 0,
): string | undefined {
  const at = firstNotFinite(activation, dtype);
  if (at < 0) return undefined;
  const row = Math.floor(at / (activation.length / token.length));
  const [value] = widen(activation.subarray(at, at + 1), dtype);
  return `row ${before + row} (context ${context[row]}, position ${pos[row]}) holds ${value}`;
}
