import type { MetricsRecord } from '../train/metrics-record.js';
import { logDomain, padded, quantile, wantsLog } from './domains.js';
import type { CurvePoint } from './downsample.js';

/** A quantity of a training curve, and how its axis is chosen. */
export interface Quantity {
  title: string;
  value: (line: MetricsRecord) => number;
  /** Never: linear. Always: log10 of what is above 0. Wide: log10 if the span is more than a factor of 8. */
  log: 'never' | 'always' | 'wide';
  /** The y axis begins at 0. */
  fromZero: boolean;
  /** Limits are those of what comes after the start of training, its rarest values left out. */
  cut: boolean;
  /** Below this, values say only that training failed: no axis goes there for some curves while others stay above. */
  floor?: number;
}

export interface Axis {
  type: 'linear' | 'log';
  domain: [number, number];
}

/** Share of a curve that is its start: far from all that follows, it would take the whole axis. */
const START = 1 / 20;
/** Share of the values after the start that an axis may leave out at each end. */
const RARE = 0.01;

/** The values that decide an axis: of each curve what follows its start. */
function decisive(points: readonly CurvePoint[], { cut }: Quantity): number[] {
  const end = points.at(-1)?.tokens ?? 0;
  return points.filter(({ tokens }) => !cut || tokens >= START * end).map(({ value }) => value);
}

/** The y axis of a panel: its kind and its ends. What lies beyond them is not drawn (see `beyond`). */
export function yAxis(curves: readonly (readonly CurvePoint[])[], quantity: Quantity): Axis {
  const each = curves.map((points) => decisive(points, quantity));
  const all = each.flat().filter(Number.isFinite);
  const positive = all.filter((value) => value > 0);
  const limits = (values: readonly number[]): [number, number] =>
    quantity.cut ? [quantile(values, RARE), quantile(values, 1 - RARE)] : [quantile(values, 0), quantile(values, 1)];
  if (positive.length > 0 && (quantity.log === 'always' || (quantity.log === 'wide' && wantsLog(positive)))) {
    // The ends of curves are what is read off; a log axis has room for them.
    const ends = each.map((values) => values.at(-1) ?? Number.NaN);
    return { type: 'log', domain: logDomain([...limits(positive), ...ends], 0.05, 1.5) };
  }
  if (all.length === 0) return { type: 'linear', domain: [0, 1] };
  let [least, most] = limits(all);
  const { floor } = quantity;
  if (floor !== undefined && least < floor && each.some((values) => quantile(values, 0.5) >= floor)) least = floor;
  most = Math.max(most, least);
  const [low, high] = padded([least, most], 0.06);
  return {
    type: 'linear',
    domain: quantity.fromZero && least >= 0 ? [0, Math.max(high, most * 1.06)] : [low, high],
  };
}

/** At which end of the axis a value has no place; null where it has one, or is not a number. */
export function beyond(value: number, { type, domain }: Axis): 'below' | 'above' | null {
  if (Number.isNaN(value)) return null;
  if (value < domain[0] || (type === 'log' && value <= 0)) return 'below';
  return value > domain[1] ? 'above' : null;
}
