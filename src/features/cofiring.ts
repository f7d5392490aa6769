import type { Entries } from './entries.js';

/** Approximate number of tokens to measure co-firing on: those of every s-th context. */
const SAMPLED_TOKENS = 200_000;
/** Max entries in the sample. */
export const MOST_SAMPLED = 2 ** 25;
/** Max pairs of entries of one token to accumulate: about half a minute. Dense SAEs have many. */
export const MOST_SAMPLED_PAIRS = 2 ** 33;

/** Features between two checks of the stop request. */
const BETWEEN = 16;

/** s: every s-th context is sampled. */
export const samplingStep = (tokens: number): number => Math.ceil(tokens / SAMPLED_TOKENS);

/** The features that fire together with a feature, by descending correlation. */
export interface Cofiring {
  readonly features: number[];
  readonly correlations: number[];
  /** Number of tokens on which both fire. */
  readonly tokens: number[];
}

/** The arrays of a sample, as stored on disk. */
interface SampleArrays {
  readonly features: Int32Array;
  readonly values: Float32Array;
  /** End of each token's entries. */
  readonly ends: Uint32Array;
}

/** Entries (token, feature, f) of sampled contexts, token after token (CSR). */
export class CofiringSample {
  private features: Int32Array = new Int32Array(2 ** 12);
  private values: Float32Array = new Float32Array(2 ** 12);
  private entries = 0;
  private ends: Uint32Array = new Uint32Array(2 ** 10);
  private pairs = 0;
  /** Number of tokens in it. */
  tokens = 0;
  /** Is it full? If so, nothing more is added. */
  full = false;

  constructor(
    private readonly dSae: number,
    private readonly mostEntries = MOST_SAMPLED,
    private readonly mostPairs = MOST_SAMPLED_PAIRS,
  ) {}

  /**
   * Adds a context; if it does not fit, none of it.
   *
   * @param counted positions that count, ascending; entries at others are left out
   */
  add({ length, features, positions, values }: Entries, counted: ArrayLike<number>): void {
    if (this.full) return;
    const perToken = new Uint32Array(counted.length);
    let [entry, total, pairs] = [0, 0, 0];
    for (let t = 0; t < counted.length; t++) {
      const from = entry;
      while (entry < length && positions[entry] === counted[t]) entry++;
      perToken[t] = entry - from;
      total += entry - from;
      pairs += (entry - from) ** 2;
    }
    if (this.entries + total > this.mostEntries || this.pairs + pairs > this.mostPairs) {
      this.full = true;
      return;
    }
    this.reserve(this.entries + total, this.tokens + counted.length);
    this.features.set(features.subarray(0, total), this.entries);
    this.values.set(values.subarray(0, total), this.entries);
    for (const count of perToken) {
      this.entries += count;
      this.ends[this.tokens++] = this.entries;
    }
    this.pairs += pairs;
  }

  /** Its contents, for a state on disk. */
  arrays(): SampleArrays {
    const { entries, tokens } = this;
    return {
      features: this.features.subarray(0, entries),
      values: this.values.subarray(0, entries),
      ends: this.ends.subarray(0, tokens),
    };
  }

  /** Restores the result of `arrays`. */
  restore({ features, values, ends }: SampleArrays, full: boolean): void {
    this.features = features;
    this.values = values;
    this.entries = features.length;
    this.ends = ends;
    this.tokens = ends.length;
    this.full = full;
    this.pairs = ends.reduce((sum, end, t) => sum + (end - (ends[t - 1] ?? 0)) ** 2, 0);
  }

  /**
   * Pearson correlations over the tokens of the sample: for each feature the `most` largest positive ones, among the
   * features that fire together with it anywhere; ties go to the lower feature number.
   *
   * @param between awaited now and then, with the number of features done
   * @returns the co-firing features of each feature
   */
  async correlations(most: number, between: (done: number) => Promise<void>): Promise<(feature: number) => Cofiring> {
    const { dSae } = this;
    const sums = new PairSums(this.arrays(), dSae);
    const best = new BestPairs(dSae, most);
    for (let j = 0; j < dSae; j++) {
      if (j % BETWEEN === 0) await between(j);
      sums.addPairs(j, best);
    }
    return (feature) => best.of(feature);
  }

  private reserve(entries: number, tokens: number): void {
    if (entries > this.values.length) {
      const { features, values } = this;
      const size = Math.min(this.mostEntries, Math.max(entries, 2 * values.length));
      this.features = new Int32Array(size);
      this.features.set(features);
      this.values = new Float32Array(size);
      this.values.set(values);
    }
    if (tokens > this.ends.length) {
      const { ends } = this;
      this.ends = new Uint32Array(Math.max(tokens, 2 * ends.length));
      this.ends.set(ends);
    }
  }
}

/** The features with the largest correlation, for each feature. */
class BestPairs {
  private readonly count: Uint8Array;
  private readonly features: Int32Array;
  private readonly correlations: Float64Array;
  private readonly tokens: Int32Array;

  constructor(
    dSae: number,
    private readonly most: number,
  ) {
    this.count = new Uint8Array(dSae);
    this.features = new Int32Array(dSae * most);
    this.correlations = new Float64Array(dSae * most);
    this.tokens = new Int32Array(dSae * most);
  }

  /** Inserts feature k into the list of feature j, if it belongs there. */
  add(j: number, k: number, correlation: number, tokens: number): void {
    const { most, features, correlations } = this;
    const base = j * most;
    const before = (at: number) =>
      correlation > correlations[at]! || (correlation === correlations[at]! && k < features[at]!);
    let at = base + this.count[j]!;
    if (this.count[j]! < most) this.count[j]!++;
    else if (before(at - 1)) at--;
    else return;
    for (; at > base && before(at - 1); at--) {
      features[at] = features[at - 1]!;
      correlations[at] = correlations[at - 1]!;
      this.tokens[at] = this.tokens[at - 1]!;
    }
    features[at] = k;
    correlations[at] = correlation;
    this.tokens[at] = tokens;
  }

  of(j: number): Cofiring {
    const [from, to] = [j * this.most, j * this.most + this.count[j]!];
    return {
      features: [...this.features.subarray(from, to)],
      correlations: [...this.correlations.subarray(from, to)],
      tokens: [...this.tokens.subarray(from, to)],
    };
  }
}

/**
 * Sums over all pairs of features that fire on the same token, feature by feature, via the tokens on which each fires.
 */
class PairSums {
  /** Entries by feature: those of j from starts[j] to starts[j + 1], with their index in the sample and their token. */
  private readonly starts: Uint32Array;
  private readonly entryOf: Uint32Array;
  private readonly tokenOf: Uint32Array;
  /** Per feature. */
  private readonly mean: Float64Array;
  private readonly deviation: Float64Array;
  /** Σ f_j f_k and the number of tokens on which both fire, for the current feature j. */
  private readonly products: Float64Array;
  private readonly together: Int32Array;

  constructor(
    private readonly sample: SampleArrays,
    dSae: number,
  ) {
    const { features, values, ends } = sample;
    this.starts = new Uint32Array(dSae + 1);
    for (const feature of features) this.starts[feature + 1]!++;
    for (let j = 0; j < dSae; j++) this.starts[j + 1]! += this.starts[j]!;
    const next = this.starts.slice(0, dSae);
    this.entryOf = new Uint32Array(features.length);
    this.tokenOf = new Uint32Array(features.length);
    this.mean = new Float64Array(dSae);
    this.deviation = new Float64Array(dSae);
    for (let t = 0, i = 0; t < ends.length; t++) {
      for (; i < ends[t]!; i++) {
        const feature = features[i]!;
        const value = values[i]!;
        const at = next[feature]!++;
        this.entryOf[at] = i;
        this.tokenOf[at] = t;
        this.mean[feature]! += value;
        this.deviation[feature]! += value * value;
      }
    }
    for (let j = 0; j < dSae; j++) {
      this.mean[j]! /= ends.length;
      this.deviation[j] = Math.sqrt(Math.max(0, this.deviation[j]! / ends.length - this.mean[j]! ** 2));
    }
    this.products = new Float64Array(dSae);
    this.together = new Int32Array(dSae);
  }

  /** Adds the pairs of j and later features to the lists of both. */
  addPairs(j: number, best: BestPairs): void {
    const { products, together, mean, deviation } = this;
    const tokens = this.sample.ends.length;
    for (const k of this.sumPairs(j)) {
      const covariance = products[k]! / tokens - mean[j]! * mean[k]!;
      const correlation = covariance / (deviation[j]! * deviation[k]!);
      if (correlation > 0 && correlation < Number.POSITIVE_INFINITY) {
        best.add(j, k, correlation, together[k]!);
        best.add(k, j, correlation, together[k]!);
      }
      products[k] = 0;
      together[k] = 0;
    }
  }

  /** Fills `products` and `together`; returns the features above j for which they are nonzero. */
  private sumPairs(j: number): number[] {
    const { products, together, entryOf, tokenOf } = this;
    const { features, values, ends } = this.sample;
    const touched: number[] = [];
    for (let at = this.starts[j]!; at < this.starts[j + 1]!; at++) {
      const entry = entryOf[at]!;
      const value = values[entry]!;
      const end = ends[tokenOf[at]!]!;
      // Features within a token are ascending.
      for (let i = entry + 1; i < end; i++) {
        const feature = features[i]!;
        if (together[feature]! === 0) touched.push(feature);
        together[feature]!++;
        products[feature]! += value * values[i]!;
      }
    }
    return touched;
  }
}
