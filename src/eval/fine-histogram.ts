/** Bins per octave: the upper 16 bits of a float32's mantissa. */
const OCTAVE = 2 ** 16;

/** Counts and sums of the values of one octave, by bin. */
interface Octave {
  readonly counts: Float64Array;
  readonly sums: Float64Array;
}

/**
 * Accumulates any number of values in bounded memory to find their quantiles: bins have a relative width of 1.5 · 10⁻⁵,
 * and each is represented by the mean of its values. Minimum and maximum are exact. An octave takes a megabyte once it
 * has a value.
 */
export class FineHistogram {
  count = 0;
  sum = 0;
  least = Number.POSITIVE_INFINITY;
  largest = Number.NEGATIVE_INFINITY;
  private readonly octaves = new Map<number, Octave>();
  private readonly value = new Float32Array(1);
  private readonly bits = new Uint32Array(this.value.buffer);

  /** @param value not negative */
  add(value: number): void {
    this.value[0] = value;
    const bits = this.bits[0]!;
    const octave = bits >>> 23;
    let { counts, sums } = this.octaves.get(octave) ?? {};
    if (!counts || !sums) {
      [counts, sums] = [new Float64Array(OCTAVE), new Float64Array(OCTAVE)];
      this.octaves.set(octave, { counts, sums });
    }
    const bin = (bits >>> 7) & (OCTAVE - 1);
    counts[bin]! += 1;
    sums[bin]! += value;
    this.count++;
    this.sum += value;
    if (value < this.least) this.least = value;
    if (value > this.largest) this.largest = value;
  }

  /** Quantiles of the values at shares `q`, interpolated linearly like NumPy's quantile. */
  quantiles(shares: readonly number[]): number[] {
    return shares.map((q) => {
      const at = q * (this.count - 1);
      const [low, high] = [this.ranked(Math.floor(at)), this.ranked(Math.ceil(at))];
      return low + (at - Math.floor(at)) * (high - low);
    });
  }

  /** Sum of the `count` largest values. */
  sumOfLargest(count: number): number {
    let [left, sum] = [count, 0];
    for (const [counts, sums, bin] of this.bins().reverse()) {
      const taken = Math.min(left, counts[bin]!);
      sum += (sums[bin]! / counts[bin]!) * taken;
      left -= taken;
      if (left === 0) break;
    }
    return sum;
  }

  /** The value of rank `rank`, from 0. */
  private ranked(rank: number): number {
    if (rank <= 0) return this.least;
    if (rank >= this.count - 1) return this.largest;
    let before = 0;
    for (const octave of this.ascending()) {
      const { counts, sums } = octave;
      for (let bin = 0; bin < OCTAVE; bin++) {
        before += counts[bin]!;
        if (before > rank) return sums[bin]! / counts[bin]!;
      }
    }
    return this.largest;
  }

  private ascending(): Octave[] {
    return [...this.octaves.entries()].sort(([a], [b]) => a - b).map(([, octave]) => octave);
  }

  /** Non-empty bins, ascending. */
  private bins(): [counts: Float64Array, sums: Float64Array, bin: number][] {
    return this.ascending().flatMap(({ counts, sums }) => {
      const filled: [Float64Array, Float64Array, number][] = [];
      for (let bin = 0; bin < OCTAVE; bin++) if (counts[bin]! > 0) filled.push([counts, sums, bin]);
      return filled;
    });
  }
}
