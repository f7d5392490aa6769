import type { EvalRecord, Interval } from '../eval/record.js';
import type { Entry } from './entries.js';

/** A measured value of an SAE against its L0: a point of figures 1 and 2. */
export interface Point {
  /** Where it was measured: the panel. */
  site: string;
  /** Whose curve it is on. */
  family: string;
  style: number;
  /** Mean number of active features a token. */
  l0: number;
  value: number;
  /** 95 % intervals, where they are known. */
  l0Interval?: Interval;
  valueInterval?: Interval;
  name: string;
  /** The name, cut where it is too long for a figure. */
  label: string;
  /** Why there is no value, where the evaluation says it. */
  reason?: string;
  /** Number of its SAE on the page; null for a point of a reference. */
  index: number | null;
}

/** The interval, where it has two finite ends. */
function known(interval: Interval | undefined): Interval | undefined {
  return interval?.every(Number.isFinite) ? interval : undefined;
}

/** The SAEs' points for one quantity of their records, by its key there. */
export function pointsOf(
  entries: readonly Entry[],
  quantity: 'loss_recovered' | 'relative_reconstruction_bias',
): Point[] {
  const interval = (record: EvalRecord, name: string) => known(record.intervals?.[name]);
  return entries.map(({ site, family, style, fullName, label, index, record }) => ({
    site,
    family,
    style,
    l0: record.l0,
    value: record[quantity],
    l0Interval: interval(record, 'l0'),
    valueInterval: interval(record, quantity),
    name: fullName,
    label,
    reason: record.reasons?.[quantity],
    index,
  }));
}

/** True where the point has a place on a log axis of L0. */
export function drawable({ l0, value }: Point): boolean {
  return l0 > 0 && Number.isFinite(l0) && Number.isFinite(value);
}

/** Points of one family at one site, of the report or of the reference, by L0 upwards: one curve. */
export function curvesOf(points: readonly Point[]): Point[][] {
  const curves = new Map<string, Point[]>();
  for (const point of points.filter(drawable)) {
    const curve = JSON.stringify([point.site, point.family, point.index === null]);
    curves.set(curve, [...(curves.get(curve) ?? []), point]);
  }
  return [...curves.values()].map((curve) => curve.sort((a, b) => a.l0 - b.l0));
}
