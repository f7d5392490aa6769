import type { MetricsRecord } from '../train/metrics-record.js';

/**
 * A curve of bounded size that grows by its end: means over `stride` consecutive lines each, the last over those there
 * are. Whenever there are twice `limit` of them, neighbours are joined and the stride doubles, so that all have equal
 * weight at any length (report/downsample.ts has the same means of a curve that is known whole).
 */
export class ThinnedCurve {
  private means: MetricsRecord[] = [];
  private stride = 1;
  private rest: MetricsRecord[] = [];
  /** The newest line. */
  last: MetricsRecord | undefined;

  constructor(private readonly limit: number) {}

  add(line: MetricsRecord): void {
    // A resumed run may do over what it had written: the later lines are the ones that led to the weights.
    for (const list of [this.rest, this.means]) {
      while (list.length > 0 && list.at(-1)!.tokens >= line.tokens) list.pop();
    }
    this.last = line;
    this.rest.push(line);
    if (this.rest.length < this.stride) return;
    this.means.push(meanOf(this.rest));
    this.rest = [];
    if (this.means.length < 2 * this.limit) return;
    this.means = Array.from({ length: this.limit }, (_, i) => meanOf(this.means.slice(2 * i, 2 * i + 2)));
    this.stride *= 2;
  }

  /** Less than twice `limit` records, in order. */
  records(): MetricsRecord[] {
    return this.rest.length > 0 ? [...this.means, meanOf(this.rest)] : [...this.means];
  }
}

/** At most `limit` records that stand for the curve. */
export function thinned(curve: readonly MetricsRecord[], limit: number): MetricsRecord[] {
  const thin = new ThinnedCurve(Math.floor(limit / 2));
  for (const line of curve) thin.add(line);
  return thin.records();
}

/** The mean of each value; what is not a number is left out of it, and is NaN where there is nothing else. */
function meanOf(lines: readonly MetricsRecord[]): MetricsRecord {
  const keys = Object.keys(lines[0]!) as (keyof MetricsRecord)[];
  const mean = (key: keyof MetricsRecord) => {
    const values = lines.map((line) => line[key] ?? Number.NaN).filter(Number.isFinite);
    return values.reduce((sum, value) => sum + value, 0) / values.length;
  };
  return Object.fromEntries(keys.map((key) => [key, mean(key)])) as unknown as MetricsRecord;
}
