/** Float32 mantissas (23 bits) at which the quarters of an octave begin: 2^(1/4), 2^(2/4), 2^(3/4). */
const QUARTERS = [1, 2, 3].map((k) => Math.ceil((2 ** (k / 4) - 1) * 2 ** 23));

/**
 * ⌊4 log₂ f⌋ of a positive float32, exactly: computed from its bits, since none of the bounds 2^(k/4) between two
 * powers of two is a float32.
 *
 * @param bits of f, finite and positive
 */
export function quarterOctave(bits: number): number {
  let exponent = bits >>> 23;
  let fraction = bits & 0x7fffff;
  if (exponent === 0) {
    // Subnormal: shift its leading one to where normal numbers have it.
    const shift = Math.clz32(fraction) - 8;
    fraction = (fraction << shift) & 0x7fffff;
    exponent = 1 - shift;
  }
  let quarter = 0;
  for (const bound of QUARTERS) if (fraction >= bound) quarter++;
  return 4 * (exponent - 127) + quarter;
}

/** Bins by which a table grows: growing is expensive, so it should be rare. */
const STEP = 16;

/** Histograms by quarter octave for many features; all have the same bins, as many as the most extreme value needs. */
export class Histograms {
  /** Bin b is the quarter octave first + b. */
  first = 0;
  bins = 0;
  /** [features × bins] */
  counts = new Uint32Array(0);

  constructor(private readonly features: number) {}

  add(feature: number, octaveQuarter: number): void {
    const bin = octaveQuarter - this.first;
    if (bin < 0 || bin >= this.bins) {
      this.include(octaveQuarter);
      this.counts[feature * this.bins + octaveQuarter - this.first]!++;
    } else this.counts[feature * this.bins + bin]!++;
  }

  /** Counts without the empty bins at both ends, and the quarter octave of the first bin; 0 if all are empty. */
  of(feature: number): { first: number; counts: number[] } {
    const row = this.counts.subarray(feature * this.bins, (feature + 1) * this.bins);
    const from = row.findIndex((n) => n > 0);
    if (from < 0) return { first: 0, counts: [] };
    const to = row.findLastIndex((n) => n > 0) + 1;
    return { first: this.first + from, counts: [...row.subarray(from, to)] };
  }

  private include(octaveQuarter: number): void {
    const least = Math.floor(octaveQuarter / STEP) * STEP;
    const first = this.bins === 0 ? least : Math.min(this.first, least);
    const end = this.bins === 0 ? least + STEP : Math.max(this.first + this.bins, least + STEP);
    const bins = end - first;
    const counts = new Uint32Array(this.features * bins);
    for (let j = 0; j < this.features && this.bins > 0; j++) {
      counts.set(this.counts.subarray(j * this.bins, (j + 1) * this.bins), j * bins + this.first - first);
    }
    this.first = first;
    this.bins = bins;
    this.counts = counts;
  }
}
