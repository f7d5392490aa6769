import type { MetricsRecord } from '../sae/training-curve.js';

// Training curves of bounded length, for finished and running runs.

/** A quantity of metrics.jsonl against activations seen. */
export interface CurvePoint {
  /** Activations seen. */
  tokens: number;
  value: number;
}

/**
 * The curve without steps repeated by a resumed run: a run that resumes from its last checkpoint rewrites what came
 * after it, and the later lines led to the final weights.
 */
export function withoutRepeats(curve: readonly MetricsRecord[]): MetricsRecord[] {
  const kept: MetricsRecord[] = [];
  for (const line of curve) {
    while (kept.length > 0 && kept.at(-1)!.tokens >= line.tokens) kept.pop();
    kept.push(line);
  }
  return kept;
}

/**
 * At most `limit` points: means over buckets of consecutive points of as equal size as possible, so that no spike is
 * picked or lost by chance. Non-finite values are ignored; a bucket without finite values is NaN, a gap.
 */
export function bucketMeans(points: readonly CurvePoint[], limit: number): CurvePoint[] {
  const buckets = Math.min(limit, points.length);
  return Array.from({ length: buckets }, (_, k) => {
    const from = Math.floor((k * points.length) / buckets);
    const to = Math.floor(((k + 1) * points.length) / buckets);
    const bucket = points.slice(from, to);
    const finite = bucket.filter(({ value }) => Number.isFinite(value));
    const counted = finite.length === 0 ? bucket : finite;
    return { tokens: mean(counted.map(({ tokens }) => tokens)), value: mean(finite.map(({ value }) => value)) };
  });
}

/** NaN for no values. */
const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;

/**
 * A curve of bounded size that grows at its end: means over `stride` consecutive lines each, the last over those
 * available. When there are 2 · `limit` of them, neighbours are merged and the stride doubles, so that all have equal
 * weight at any length: the same means as `bucketMeans` of the complete curve.
 */
export class ThinnedCurve {
  private means: MetricsRecord[] = [];
  private stride = 1;
  private rest: MetricsRecord[] = [];
  /** The last line. */
  last: MetricsRecord | undefined;

  constructor(private readonly limit: number) {}

  add(line: MetricsRecord): void {
    // A resumed run may repeat earlier steps: the later lines led to the final weights.
    for (const list of [this.rest, this.means]) {
      while (list.length > 0 && list.at(-1)!.tokens >= line.tokens) list.pop();
    }
    this.last = line;
    this.rest.push(line);
    if (this.rest.length < this.stride) return;
    this.means.push(meanRecord(this.rest));
    this.rest = [];
    if (this.means.length < 2 * this.limit) return;
    this.means = Array.from({ length: this.limit }, (_, i) => meanRecord(this.means.slice(2 * i, 2 * i + 2)));
    this.stride *= 2;
  }

  /** Fewer than 2 · `limit` records, in order. */
  records(): MetricsRecord[] {
    return this.rest.length > 0 ? [...this.means, meanRecord(this.rest)] : [...this.means];
  }
}

/** At most `limit` records that represent the curve. */
export function thinned(curve: readonly MetricsRecord[], limit: number): MetricsRecord[] {
  const thin = new ThinnedCurve(Math.floor(limit / 2));
  for (const line of curve) thin.add(line);
  return thin.records();
}

/** The mean of each value; NaN is ignored, unless there is nothing else. */
function meanRecord(lines: readonly MetricsRecord[]): MetricsRecord {
  const keys = Object.keys(lines[0]!) as (keyof MetricsRecord)[];
  const valuesOf = (key: keyof MetricsRecord) => lines.map((line) => line[key] ?? Number.NaN).filter(Number.isFinite);
  return Object.fromEntries(keys.map((key) => [key, mean(valuesOf(key))])) as unknown as MetricsRecord;
}
