import { Refusal } from '../errors/refusal.js';

/**
 * A float32 matrix with one row per token, the input and output of hooks and SAEs: activations [tokens, d_in], features
 * [tokens, d_sae].
 */
export class Activations {
  /** Number of tokens. */
  readonly rows: number;

  /**
   * @param data [rows × width], row by row; kept, not copied
   * @param width entries per row
   * @throws Refusal if the length of `data` is not a multiple of `width`
   */
  constructor(
    readonly data: Float32Array,
    readonly width: number,
  ) {
    this.rows = data.length / width;
    if (Number.isInteger(width) && width > 0 && Number.isInteger(this.rows)) return;
    throw new Refusal(
      `${data.length} numbers do not form complete rows of width ${width}.`,
      'Give rows × width numbers, row by row.',
      'library/wrong-width',
    );
  }

  /** [rows, width] */
  get shape(): readonly [rows: number, width: number] {
    return [this.rows, this.width];
  }

  /** Row i, [width]; a view, not a copy. */
  row(i: number): Float32Array {
    return this.data.subarray(i * this.width, (i + 1) * this.width);
  }
}

/** @throws Refusal if these are not activations, or the width differs; `what` names the rows */
export function checkWidth(rows: Activations, expected: number, what: string): void {
  if (!(rows?.data instanceof Float32Array)) {
    throw new Refusal(
      `${what} are not \`Activations\`.`,
      'Give one that `cache.get(hook)` or `sae.encode` returned, or `new Activations(data, width)`.',
      'library/wrong-width',
    );
  }
  const { width } = rows;
  if (width === expected) return;
  throw new Refusal(
    `${what} have width ${width}, but ${expected} is required.`,
    'Give activations of the hook that belongs to the SAE.',
    'library/wrong-width',
  );
}
