/** f > 0 for the tokens of a context as (feature, position, value), one array each, token after token. */
export class Entries {
  length = 0;
  features = new Int32Array(4096);
  positions = new Int32Array(4096);
  values = new Float32Array(4096);

  /** Clears it for the next context. */
  clear(): void {
    this.length = 0;
  }

  push(feature: number, position: number, value: number): void {
    const at = this.length++;
    if (at === this.values.length) this.grow();
    this.features[at] = feature;
    this.positions[at] = position;
    this.values[at] = value;
  }

  private grow(): void {
    const { features, positions, values } = this;
    const size = 2 * values.length;
    this.features = new Int32Array(size);
    this.positions = new Int32Array(size);
    this.values = new Float32Array(size);
    this.features.set(features);
    this.positions.set(positions);
    this.values.set(values);
  }
}

/** Numbers scanned together: most of them are 0. */
const STRIDE = 8;

/**
 * Collects the nonzero entries of f [rows, dSae], rows first. NaN counts as nonzero, so that a check of the entries
 * finds it.
 *
 * @param positions of the rows in their context
 */
export function scanRows(f: Float32Array, dSae: number, positions: ArrayLike<number>, into: Entries): void {
  // As integer bits: float comparisons would have to test each value.
  const bits = new Int32Array(f.buffer, f.byteOffset, f.length);
  let row = 0;
  let end = dSae;
  const look = (from: number, to: number) => {
    for (let at = from; at < to; at++) {
      const value = f[at]!;
      if (value <= 0) continue;
      while (at >= end) {
        row++;
        end += dSae;
      }
      into.push(at - end + dSae, positions[row]!, value);
    }
  };
  const whole = f.length - (f.length % STRIDE);
  for (let i = 0; i < whole; i += STRIDE) {
    const low = bits[i]! | bits[i + 1]! | bits[i + 2]! | bits[i + 3]!;
    const high = bits[i + 4]! | bits[i + 5]! | bits[i + 6]! | bits[i + 7]!;
    if ((low | high) !== 0) look(i, i + STRIDE);
  }
  look(whole, f.length);
}

/** The entries of a context sorted by feature, and within a feature by position. */
export class SortedEntries {
  /** Entries of feature j are starts[j] to starts[j + 1], [dSae + 1]. */
  readonly starts: Int32Array;
  positions = new Int32Array(0);
  values = new Float32Array(0);
  /** Of the values. */
  bits = new Uint32Array(0);
  private readonly next: Int32Array;

  constructor(private readonly dSae: number) {
    this.starts = new Int32Array(dSae + 1);
    this.next = new Int32Array(dSae);
  }

  /** Counting sort of another context's entries; entries of one feature keep their order. */
  sort({ length, features, positions, values }: Entries): void {
    const { dSae, starts, next } = this;
    if (this.values.length < length) {
      this.positions = new Int32Array(positions.length);
      this.values = new Float32Array(values.length);
      this.bits = new Uint32Array(this.values.buffer);
    }
    starts.fill(0);
    for (let i = 0; i < length; i++) starts[features[i]! + 1]!++;
    for (let j = 0; j < dSae; j++) {
      starts[j + 1]! += starts[j]!;
      next[j] = starts[j]!;
    }
    for (let i = 0; i < length; i++) {
      const at = next[features[i]!]!++;
      this.positions[at] = positions[i]!;
      this.values[at] = values[i]!;
    }
  }
}
