import { Refusal } from '../errors/refusal.js';

/**
 * A matrix of float32 with a row per token, as hooks and SAEs give and take it: activations [tokens, d_in], features
 * [tokens, d_sae].
 */
export class Activations {
  /** Tokens. */
  readonly rows: number;

  /**
   * @param data [rows × width], row by row; kept, not copied
   * @param width entries per row
   * @throws Refusal where `data` is not whole rows of that width
   */
  constructor(
    readonly data: Float32Array,
    readonly width: number,
  ) {
    this.rows = data.length / width;
    if (Number.isInteger(width) && width > 0 && Number.isInteger(this.rows)) return;
    throw new Refusal(
      `${data.length} numbers are not whole rows of width ${width}.`,
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

/** @throws Refusal where rows are not `width` wide; `what` names them */
export function checkWidth({ width }: Activations, expected: number, what: string): void {
  if (width === expected) return;
  throw new Refusal(
    `${what} are ${width} wide, and ${expected} is needed.`,
    'Give activations of the hook that belongs to the SAE.',
    'library/wrong-width',
  );
}
