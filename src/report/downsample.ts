import type { MetricsRecord } from '../train/metrics-record.js';

/** A quantity of metrics.jsonl against activations seen. */
export interface CurvePoint {
  /** Activations seen. */
  tokens: number;
  value: number;
}

/**
 * The curve without what a resumed run did over: a run that goes on from its last checkpoint writes again what came
 * after it, and the later lines are the ones that led to the weights.
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
 * At most `limit` points: means over buckets of consecutive points, as equal in number as they can be, so that no spike
 * is picked or lost by chance. Values that are not finite are left out; a bucket with no other is NaN, a gap.
 */
export function bucketMeans(points: readonly CurvePoint[], limit: number): CurvePoint[] {
  const buckets = Math.min(limit, points.length);
  return Array.from({ length: buckets }, (_, k) => {
    const from = Math.floor((k * points.length) / buckets);
    const to = Math.floor(((k + 1) * points.length) / buckets);
    const bucket = points.slice(from, to);
    const finite = bucket.filter(({ value }) => Number.isFinite(value));
    const mean = (of: readonly CurvePoint[], pick: (point: CurvePoint) => number) =>
      of.reduce((sum, point) => sum + pick(point), 0) / of.length;
    if (finite.length === 0) return { tokens: mean(bucket, (point) => point.tokens), value: Number.NaN };
    return { tokens: mean(finite, (point) => point.tokens), value: mean(finite, (point) => point.value) };
  });
}
