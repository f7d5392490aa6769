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

/** @throws Refusal if the width differs; `what` names the rows */
export function checkWidth({ width }: Activations, expected: number, what: string): void {
  if (width === expected) return;
  throw new Refusal(
    `${what} have width ${width}, but ${expected} is required.`,
    'Give activations of the hook that belongs to the SAE.',
    'library/wrong-width',
  );
}
