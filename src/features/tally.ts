import type { SortedEntries } from './entries.js';
import { Histograms, quarterOctave } from './quarter-octaves.js';

/**
 * Octaves to keep examples from, counting down from that of a feature's maximum, and the number of examples per octave.
 */
export const BANDS = 5;
export const BAND_EXAMPLES = 5;

/** Settings of the examples. */
export interface ExampleSettings {
  /** Number of contexts with the largest peaks. */
  readonly topK: number;
  /** Tokens of the window before and after the peak. */
  readonly window: readonly [before: number, after: number];
}

/** A kept example. */
export interface KeptExample {
  /** 0: top k; 1, …: octaves from that of the maximum down. */
  readonly band: number;
  readonly rank: number;
  readonly value: number;
  readonly context: number;
  readonly position: number;
  /**
   * f at each token of the window, which begins `before` tokens before the peak, even if the context does not reach
   * that far.
   */
  readonly activations: Float32Array;
}

/** Context and feature whose entries are added. */
interface Place {
  /** Number of the feature in this tally, and in its SAE. */
  readonly local: number;
  readonly feature: number;
  /** Index of the context. */
  readonly context: number;
  /** Positions from here on appear in windows but do not count. */
  readonly end: number;
}

/** Below every octave. */
const NO_OCTAVE = -1000;

/**
 * Statistics and examples of up to FILE_FEATURES features of one SAE, added context by context. All of it is exact,
 * independent of the order of features, and a function of the contexts in their order.
 *
 * Memory: see tallyBytes. Arrays are allocated at once; pages for dead features are never touched.
 */
export class Tally {
  /** Tokens with f > 0, Σ f and the largest f, [features] each. */
  readonly activeTokens: Float64Array;
  readonly sum: Float64Array;
  readonly max: Float32Array;
  readonly histograms: Histograms;
  /** Number of examples in each feature's top k, [features]; and the smallest of them once there are k, otherwise 0. */
  private readonly topCount: Uint16Array;
  private readonly least: Float32Array;
  /** Octave of each feature's maximum, and number of examples of octave o at [feature × BANDS + o mod BANDS]. */
  private readonly topOctave: Int16Array;
  private readonly bandCount: Uint8Array;
  /** Slots per feature: top k, then BAND_EXAMPLES for each octave mod BANDS. */
  private readonly slots: number;
  private readonly width: number;
  private readonly values: Float32Array;
  private readonly contexts: Uint32Array;
  private readonly positions: Uint32Array;
  private readonly windows: Float32Array;

  /** @param first number of the first feature in its SAE */
  constructor(
    readonly first: number,
    readonly features: number,
    private readonly settings: ExampleSettings,
  ) {
    const { topK, window } = settings;
    this.slots = topK + BANDS * BAND_EXAMPLES;
    this.width = window[0] + 1 + window[1];
    this.activeTokens = new Float64Array(features);
    this.sum = new Float64Array(features);
    this.max = new Float32Array(features);
    this.histograms = new Histograms(features);
    this.topCount = new Uint16Array(features);
    this.least = new Float32Array(features);
    this.topOctave = new Int16Array(features).fill(NO_OCTAVE);
    this.bandCount = new Uint8Array(features * BANDS);
    this.values = new Float32Array(features * this.slots);
    this.contexts = new Uint32Array(features * this.slots);
    this.positions = new Uint32Array(features * this.slots);
    this.windows = new Float32Array(features * this.slots * this.width);
  }

  /** All its contents, by name: what a state on disk contains. Restored by `restore`. */
  arrays(): Record<string, Float64Array | Float32Array | Uint32Array | Uint16Array | Int16Array | Uint8Array> {
    const { activeTokens, sum, max, topCount, least, topOctave, bandCount, values, contexts, positions, windows } =
      this;
    const histogram = this.histograms.counts;
    return {
      ...{ activeTokens, sum, max, topCount, least, topOctave, bandCount, values, contexts, positions, windows },
      histogram,
      histogramFirst: Int16Array.of(this.histograms.first),
    };
  }

  /** Resizes the histograms for an array of `arrays` that will be read into them. */
  shapeHistograms(first: number, entries: number): void {
    this.histograms.first = first;
    this.histograms.bins = entries / this.features;
    this.histograms.counts = new Uint32Array(entries);
  }

  /** Adds the entries [from, to) of one feature in one context. */
  add(place: Place, entries: SortedEntries, from: number, to: number): void {
    const { positions, values, bits } = entries;
    const { local } = place;
    let peak = -1;
    let largest = 0;
    for (let i = from; i < to && positions[i]! < place.end; i++) {
      const value = values[i]!;
      this.activeTokens[local]! += 1;
      this.sum[local]! += value;
      this.histograms.add(local, quarterOctave(bits[i]!));
      if (value > largest) {
        largest = value;
        peak = i;
      }
    }
    if (peak < 0) return;
    if (largest > this.max[local]!) this.max[local] = largest;
    const here = { entries, from, to, peak };
    const top = this.slotAtTop(local, largest);
    if (top >= 0) {
      this.keep(top, place.context, here);
      this.findLeast(local);
    }
    const inBand = this.slotInBand(place, quarterOctave(bits[peak]!) >> 2);
    if (inBand >= 0) this.keep(inBand, place.context, here);
  }

  /** Examples of a feature by band and rank. */
  examplesOf(local: number): KeptExample[] {
    const { topK } = this.settings;
    const base = local * this.slots;
    const groups = [Array.from({ length: this.topCount[local]! }, (_, i) => base + i)];
    for (let band = 1; band <= BANDS && groups[0]!.length > 0; band++) {
      const at = placeOf(this.topOctave[local]! - band + 1);
      const count = this.bandCount[local * BANDS + at]!;
      groups.push(Array.from({ length: count }, (_, i) => base + topK + at * BAND_EXAMPLES + i));
    }
    return groups.flatMap((slots, band) =>
      slots
        .sort((a, b) => this.values[b]! - this.values[a]! || this.contexts[a]! - this.contexts[b]!)
        .map((slot, rank) => ({
          ...{ band, rank, value: this.values[slot]!, context: this.contexts[slot]!, position: this.positions[slot]! },
          activations: this.windows.subarray(slot * this.width, (slot + 1) * this.width),
        })),
    );
  }

  /** Position of a context's peak in the top k; −1 if k are at least as large. Ties keep those that came first. */
  private slotAtTop(local: number, value: number): number {
    const base = local * this.slots;
    const count = this.topCount[local]!;
    if (count < this.settings.topK) {
      this.topCount[local] = count + 1;
      return base + count;
    }
    if (value <= this.least[local]!) return -1;
    let weakest = base;
    for (let slot = base + 1; slot < base + count; slot++) {
      const difference = this.values[slot]! - this.values[weakest]!;
      if (difference < 0 || (difference === 0 && this.contexts[slot]! > this.contexts[weakest]!)) weakest = slot;
    }
    return weakest;
  }

  /** Position among the examples of its octave; −1 if none has a larger hash, or the octave is too low. */
  private slotInBand({ local, feature, context }: Place, octave: number): number {
    const top = this.topOctave[local]!;
    if (octave <= top - BANDS) return -1;
    if (octave > top) {
      // The slot was used by an octave that is no longer among the highest.
      for (let o = Math.max(top + 1, octave - BANDS + 1); o <= octave; o++) {
        this.bandCount[local * BANDS + placeOf(o)] = 0;
      }
      this.topOctave[local] = octave;
    }
    const at = placeOf(octave);
    const base = local * this.slots + this.settings.topK + at * BAND_EXAMPLES;
    const count = this.bandCount[local * BANDS + at]!;
    if (count < BAND_EXAMPLES) {
      this.bandCount[local * BANDS + at] = count + 1;
      return base + count;
    }
    let slot = -1;
    let largest = exampleHash(context, feature);
    for (let i = base; i < base + count; i++) {
      const hash = exampleHash(this.contexts[i]!, feature);
      if (hash <= largest) continue;
      largest = hash;
      slot = i;
    }
    return slot;
  }

  private keep(
    slot: number,
    context: number,
    { entries, from, to, peak }: { entries: SortedEntries; from: number; to: number; peak: number },
  ): void {
    const { positions, values } = entries;
    const { width } = this;
    const first = positions[peak]! - this.settings.window[0];
    this.values[slot] = values[peak]!;
    this.contexts[slot] = context;
    this.positions[slot] = positions[peak]!;
    const base = slot * width;
    this.windows.fill(0, base, base + width);
    for (let i = peak; i >= from && positions[i]! >= first; i--)
      this.windows[base + positions[i]! - first] = values[i]!;
    for (let i = peak + 1; i < to && positions[i]! < first + width; i++) {
      this.windows[base + positions[i]! - first] = values[i]!;
    }
  }

  private findLeast(local: number): void {
    const { topK } = this.settings;
    if (this.topCount[local]! < topK) return;
    const base = local * this.slots;
    let least = this.values[base]!;
    for (let slot = base + 1; slot < base + topK; slot++) if (this.values[slot]! < least) least = this.values[slot]!;
    this.least[local] = least;
  }
}

/** Max bytes per feature, with histograms of `bins` bins. */
export function tallyBytes({ topK, window }: ExampleSettings, bins: number): number {
  const slots = topK + BANDS * BAND_EXAMPLES;
  return 32 + BANDS + 4 * bins + slots * (12 + 4 * (window[0] + 1 + window[1]));
}

/** Octaves BANDS apart share a slot. */
const placeOf = (octave: number) => ((octave % BANDS) + BANDS) % BANDS;

/**
 * Random key for sampling the examples of an octave: a 32-bit hash of a context's index and a feature, murmur3's
 * finaliser of context · 0x9e3779b1 + feature. For one feature, no two contexts collide.
 */
export function exampleHash(context: number, feature: number): number {
  let h = (Math.imul(context, 0x9e3779b1) + feature) | 0;
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b);
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
  return (h ^ (h >>> 16)) >>> 0;
}
