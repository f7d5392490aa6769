/** A training step's size: width, features, batch, active features per token. */
export interface StepSize {
  readonly d: number;
  readonly n: number;
  readonly B: number;
  readonly l0: number;
}

/** Memory traffic and arithmetic of a step of the sparse algorithm on a GPU; see src/train/engines/README.md for the step. */
export interface StepWork {
  /** Operations of the encoder product. */
  readonly product: number;
  /** Operations on active entries: two decodes, two dots with W_dec's rows, two gradients, each a multiply and an add. */
  readonly sparse: number;
  /**
   * Bytes that no cache holds: W_enc read by the product, p written and read once, and W_enc, W_dec and their second
   * moments read and written by the update. float32.
   */
  readonly streamed: number;
  /**
   * Bytes of rows fetched for active entries, as if no cache held them: W_dec's row for the decodes and again for the
   * dots, r's and x's rows for the gradients. float32.
   */
  readonly gathered: number;
}

const FLOAT = 4;

export function stepWork({ d, n, B, l0 }: StepSize): StepWork {
  const entries = B * l0;
  return {
    product: 2 * B * d * n,
    sparse: 6 * 2 * entries * d,
    streamed: FLOAT * (d * n + 2 * B * n + 2 * 4 * d * n),
    gathered: FLOAT * 4 * entries * d,
  };
}

/** The card's measured rates: bytes copied (read and written) and operations of large products, per second. */
export interface CardRates {
  readonly copy: number;
  readonly products: Readonly<Record<string, number>>;
}

/** Milliseconds that the work takes at the card's rates, one after another. */
export function atRates(work: StepWork, { copy, products }: CardRates, precision: string) {
  const product = (1000 * work.product) / products[precision]!;
  const streamed = (1000 * work.streamed) / copy;
  const gathered = (1000 * work.gathered) / copy;
  return { product, streamed, gathered, sum: product + streamed + gathered };
}
