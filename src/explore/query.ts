import type { FeatureList, FeatureRow, FeatureScatter, ListColumn, ListQuery, SearchPlace } from './api.js';
import { USUAL_ROWS } from './list-query.js';

// Lists of features: sorted, filtered and searched in memory. Runs in Node and in the browser, so that static pages
// list features exactly like the server.

/** Numeric columns, NaN if a feature has no value. */
export const numberColumns = [
  'frequency',
  'max',
  'mean',
  'normShare',
  'decoderNorm',
  'encoderNorm',
  'encoderDecoderCosine',
  'decoderCosine',
  'encoderCosine',
] as const satisfies readonly ListColumn[];
export type NumberColumn = (typeof numberColumns)[number];

/** Token columns, a fixed number per feature, padded with −1. */
export const tokenColumns = ['peakTokens', 'logitTokens'] as const;
export type TokenColumn = (typeof tokenColumns)[number];

/** The data of an SAE's features held in memory. */
export interface FeatureColumns {
  readonly features: number;
  /** [features] each. */
  readonly numbers: Readonly<Record<NumberColumn, Float32Array>>;
  /** [features × tokens per feature] each. */
  readonly tokens: Readonly<Record<TokenColumn, Int32Array>>;
}

interface LabelAndNote {
  readonly label: string | null;
  readonly note: string | null;
}

/** Current labels; `version` changes whenever one of them does. */
export interface LabelView {
  readonly version: number;
  readonly byFeature: ReadonlyMap<number, LabelAndNote>;
}

/** Max cached orders and results: pages of one list are requested in succession. */
const KEPT_ORDERS = 6;
const KEPT_RESULTS = 8;
/** Max features in a scatter plot. */
const MOST_POINTS = 5000;

/** The lists of an SAE's features. */
export class FeatureLists {
  private readonly orders = new Map<string, Uint32Array>();
  private readonly results = new Map<string, Uint32Array>();
  private points: FeatureScatter | undefined;

  /** @param vocabulary text of each token */
  constructor(
    private readonly columns: FeatureColumns,
    private readonly vocabulary: TokenTexts,
    private readonly labels: () => LabelView,
  ) {}

  list(query: ListQuery): FeatureList {
    const { from = 0, count = USUAL_ROWS } = query;
    const found = this.found(query);
    return {
      total: found.length,
      rows: Array.from(found.subarray(from, from + count), (feature) => this.row(feature)),
    };
  }

  row(feature: number): FeatureRow {
    const { numbers } = this.columns;
    const orNull = (value: number) => (Number.isNaN(value) ? null : value);
    return {
      feature,
      frequency: numbers.frequency[feature]!,
      max: numbers.max[feature]!,
      mean: orNull(numbers.mean[feature]!),
      normShare: numbers.normShare[feature]!,
      encoderDecoderCosine: orNull(numbers.encoderDecoderCosine[feature]!),
      decoderCosine: orNull(numbers.decoderCosine[feature]!),
      encoderCosine: orNull(numbers.encoderCosine[feature]!),
      label: this.labels().byFeature.get(feature)?.label ?? null,
      tokens: this.texts('peakTokens', feature, 5),
      logits: this.texts('logitTokens', feature, 5),
    };
  }

  /** Texts of the first tokens of a feature in a column. */
  texts(column: TokenColumn, feature: number, most: number): string[] {
    return [...tokensOf(this.columns, column, feature)].slice(0, most).map((token) => this.vocabulary.text(token));
  }

  /** Features evenly sampled from those that fire: all, or every n-th by frequency. */
  scatter(): FeatureScatter {
    this.points ??= this.chosenPoints();
    return this.points;
  }

  private chosenPoints(): FeatureScatter {
    const { frequency, max } = this.columns.numbers;
    const fires = this.order('frequency', 'desc').filter((feature) => frequency[feature]! > 0);
    const count = Math.min(fires.length, MOST_POINTS);
    const feature = Array.from({ length: count }, (_, i) => fires[Math.floor((i * fires.length) / count)]!);
    return {
      feature,
      frequency: feature.map((j) => frequency[j]!),
      max: feature.map((j) => max[j]!),
      of: fires.length,
    };
  }

  /** All features that match a query, in its order. */
  private found(query: ListQuery): Uint32Array {
    const { q = '', in: place, sort = 'frequency', order = 'desc', alive, labelled, bounds } = query;
    const key = JSON.stringify([q, place, sort, order, alive, labelled, written(bounds), this.labels().version]);
    return kept(this.results, key, KEPT_RESULTS, () => {
      const tests = this.testsOf(query);
      const all = this.order(sort, order);
      return tests.length === 0 ? all : passing(all, tests);
    });
  }

  private testsOf({ q = '', in: place, alive, labelled, bounds = {} }: ListQuery): ((feature: number) => boolean)[] {
    const { numbers } = this.columns;
    const tests: ((feature: number) => boolean)[] = [];
    if (alive !== undefined) tests.push((feature) => numbers.frequency[feature]! > 0 === (alive === 1));
    if (labelled !== undefined) {
      const { byFeature } = this.labels();
      tests.push((feature) => byFeature.has(feature) === (labelled === 1));
    }
    for (const [column, [least, most]] of Object.entries(bounds)) {
      const values = column === 'feature' ? undefined : numbers[column as NumberColumn];
      tests.push((feature) => {
        const value = values === undefined ? feature : values[feature]!;
        return value >= least && value <= most;
      });
    }
    if (q.trim() !== '') {
      const matches = this.matches(q.trim(), place);
      tests.push((feature) => matches[feature] === 1);
    }
    return tests;
  }

  /** 1 for features that contain the searched text. */
  private matches(q: string, place: SearchPlace | undefined): Uint8Array {
    const { features } = this.columns;
    const matches = new Uint8Array(features);
    if (place !== 'labels') {
      const tokens = this.vocabulary.matching(q);
      if (place !== 'logits') mark(matches, this.columns.tokens.peakTokens, tokens);
      if (place !== 'tokens') mark(matches, this.columns.tokens.logitTokens, tokens);
    }
    if (place === undefined || place === 'labels') {
      const wanted = q.toLowerCase();
      for (const [feature, { label, note }] of this.labels().byFeature) {
        if (feature < features && `${label ?? ''}\n${note ?? ''}`.toLowerCase().includes(wanted)) matches[feature] = 1;
      }
    }
    if (place === undefined && /^\d+$/.test(q) && Number(q) < features) matches[Number(q)] = 1;
    return matches;
  }

  private order(sort: ListColumn, order: 'asc' | 'desc'): Uint32Array {
    const { features, numbers } = this.columns;
    return kept(this.orders, `${sort} ${order}`, KEPT_ORDERS, () => {
      if (sort !== 'feature') return sortedOrder(numbers[sort], order);
      return Uint32Array.from({ length: features }, (_, i) => (order === 'asc' ? i : features - 1 - i));
    });
  }
}

/** Separator between tokens in the searched text: neither tokens nor searches contain it. */
const BETWEEN = '\uffff';

/** The model's tokens as displayed, and a search in them. */
export class TokenTexts {
  /** All of them in lower case, concatenated, and where each begins. */
  private joined: { readonly text: string; readonly starts: Uint32Array } | undefined;

  constructor(readonly texts: readonly string[]) {}

  /** Placeholder for a token that the model does not have: files are not trusted. */
  text(token: number): string {
    return this.texts[token] ?? `token ${token}`;
  }

  /** 1 for each token that contains `q`, in any case; if q is in quotes, for each that equals it up to white space. */
  matching(q: string): Uint8Array {
    this.joined ??= joinedTexts(this.texts);
    const { text, starts } = this.joined;
    const whole = /^"(.+)"$/s.exec(q)?.[1]?.trim();
    const wanted = (whole ?? q).toLowerCase().replaceAll(BETWEEN, '');
    const matches = new Uint8Array(this.texts.length);
    if (wanted === '') return matches;
    let token = 0;
    for (let at = text.indexOf(wanted); at >= 0; ) {
      while (starts[token + 1]! <= at) token++;
      const own = text.slice(starts[token]!, starts[token + 1]! - 1);
      if (whole === undefined || own.trim() === wanted) matches[token] = 1;
      // One match per token is enough.
      at = text.indexOf(wanted, starts[token + 1]!);
    }
    return matches;
  }
}

function joinedTexts(texts: readonly string[]): { text: string; starts: Uint32Array } {
  const starts = new Uint32Array(texts.length + 1);
  const lower = texts.map((text, token) => {
    const own = text.toLowerCase().replaceAll(BETWEEN, '');
    starts[token + 1] = starts[token]! + own.length + 1;
    return own;
  });
  return { text: `${lower.join(BETWEEN)}${BETWEEN}`, starts };
}

/** The features that pass every test, in order. */
function passing(features: Uint32Array, tests: readonly ((feature: number) => boolean)[]): Uint32Array {
  const found = new Uint32Array(features.length);
  let count = 0;
  next: for (let i = 0; i < features.length; i++) {
    const feature = features[i]!;
    for (const test of tests) if (!test(feature)) continue next;
    found[count++] = feature;
  }
  return found.slice(0, count);
}

/** The tokens of a feature in a column. */
function tokensOf({ features, tokens }: FeatureColumns, column: TokenColumn, feature: number): Int32Array {
  const all = tokens[column];
  const most = all.length / features;
  const own = all.subarray(feature * most, (feature + 1) * most);
  const end = own.indexOf(-1);
  return end < 0 ? own : own.subarray(0, end);
}

/** Marks features that have one of the tokens. */
function mark(matches: Uint8Array, column: Int32Array, tokens: Uint8Array): void {
  const most = column.length / matches.length;
  for (let feature = 0, i = 0; feature < matches.length; feature++) {
    for (const end = i + most; i < end; i++) if (tokens[column[i]!] === 1) matches[feature] = 1;
  }
}

const written = (bounds: ListQuery['bounds']) =>
  Object.entries(bounds ?? {}).map(([column, pair]) => [column, ...pair.map(String)]);

/** The value of a key, computed if missing; keeps the most recently used ones. */
function kept<T>(values: Map<string, T>, key: string, most: number, make: () => T): T {
  const value = values.get(key) ?? make();
  values.delete(key);
  values.set(key, value);
  for (const oldest of values.keys()) {
    if (values.size <= most) break;
    values.delete(oldest);
  }
  return value;
}

/** Bits per pass of the radix sort. */
const DIGIT = 11;

/**
 * Indices sorted by value, ties by index, NaN last: a radix sort on the floats' bits, ten times as fast as a comparison
 * sort.
 */
export function sortedOrder(values: Float32Array, order: 'asc' | 'desc'): Uint32Array {
  const { length } = values;
  const floats = new Float32Array(length);
  for (let i = 0; i < length; i++) floats[i] = values[i]! + 0;
  const keys = new Uint32Array(floats.buffer);
  let from = new Uint32Array(length);
  for (let i = 0; i < length; i++) {
    const raw = keys[i]!;
    const ascending = raw >= 0x80000000 ? ~raw >>> 0 : raw + 0x80000000;
    const missing = Number.isNaN(values[i]!);
    keys[i] = missing ? 0xffffffff : order === 'asc' ? ascending : ~ascending >>> 0;
    from[i] = i;
  }
  let to = new Uint32Array(length);
  const mask = 2 ** DIGIT - 1;
  for (let shift = 0; shift < 32; shift += DIGIT) {
    const starts = new Uint32Array(2 ** DIGIT + 1);
    for (let i = 0; i < length; i++) starts[((keys[i]! >>> shift) & mask) + 1]!++;
    for (let digit = 0; digit <= mask; digit++) starts[digit + 1]! += starts[digit]!;
    for (let i = 0; i < length; i++) {
      const index = from[i]!;
      to[starts[(keys[index]! >>> shift) & mask]!++] = index;
    }
    [from, to] = [to, from];
  }
  return from;
}
