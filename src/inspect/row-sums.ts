import { inverseDeviation } from '../activations/layer-norm.js';
import { ActivationSums } from '../activations/statistics.js';

/** Statistics per row. */
export interface OfRows {
  /** |x| */
  readonly norms: Float64Array;
  /** |x − c|² */
  readonly spreads: Float64Array;
}

/** Sums over rows, each [d]: of x and x², and of the same after normalising each row. */
export interface RowTotals {
  readonly sum: Float64Array;
  readonly squares: Float64Array;
  readonly normalisedSum: Float64Array;
  readonly normalisedSquares: Float64Array;
}

/** Sums over raw rows, and over rows standardised by their own mean and deviation. */
export class RowSums {
  readonly raw: ActivationSums;
  /** Its histogram of norms stays empty: all are √d. */
  readonly normalised: ActivationSums;

  /** @param centre c, [d] */
  constructor(private readonly centre: Float64Array) {
    this.raw = new ActivationSums(centre.length);
    this.normalised = new ActivationSums(centre.length);
  }

  /**
   * Adds rows in one pass over memory: a row is still in the cache when read again for normalising.
   *
   * @param x [rows × d]
   */
  add(x: Float32Array): OfRows {
    const { raw, normalised, centre } = this;
    // Local variables: engines look up object fields again for every entry in inner loops.
    const { sum: sums, squares: sumsOfSquares } = raw;
    const d = centre.length;
    const rows = x.length / d;
    const norms = new Float64Array(rows);
    const spreads = new Float64Array(rows);
    for (let row = 0, at = 0; row < rows; row++, at += d) {
      let sum = 0;
      let squares = 0;
      let spread = 0;
      for (let i = 0; i < d; i++) {
        const value = x[at + i]!;
        const square = value * value;
        const off = value - centre[i]!;
        sums[i]! += value;
        sumsOfSquares[i]! += square;
        sum += value;
        squares += square;
        spread += off * off;
      }
      norms[row] = Math.sqrt(squares);
      spreads[row] = spread;
      addNormalised(normalised, x, at, sum / d, squares / d);
    }
    raw.count(norms);
    normalised.rows += rows;
    return { norms, spreads };
  }

  get totals(): RowTotals {
    const { raw, normalised } = this;
    const { sum, squares } = raw;
    return { sum, squares, normalisedSum: normalised.sum, normalisedSquares: normalised.squares };
  }

  /** Adds other rows, given their sums and norms. */
  merge({ sum, squares, normalisedSum, normalisedSquares }: RowTotals, norms: Float64Array): void {
    const { raw, normalised } = this;
    addTo(raw.sum, sum);
    addTo(raw.squares, squares);
    addTo(normalised.sum, normalisedSum);
    addTo(normalised.squares, normalisedSquares);
    raw.count(norms);
    normalised.rows += norms.length;
  }
}

function addTo(sums: Float64Array, values: Float64Array): void {
  for (let i = 0; i < sums.length; i++) sums[i]! += values[i]!;
}

/** Adds the row at x[at …] less its mean, divided by its standard deviation; a constant row becomes 0. */
function addNormalised(
  { sum, squares, d }: ActivationSums,
  x: Float32Array,
  at: number,
  mean: number,
  meanSquare: number,
): void {
  const scale = inverseDeviation(mean, meanSquare - mean * mean);
  if (scale === 0) return;
  for (let i = 0; i < d; i++) {
    const value = (x[at + i]! - mean) * scale;
    sum[i]! += value;
    squares[i]! += value * value;
  }
}
