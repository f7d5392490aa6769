import { compact, fixed, MINUS } from './format.js';

/** One mark on an axis. Minor marks have no label. */
export interface Tick {
  value: number;
  label: string;
}

/** Maps a value of the data to a coordinate of the figure (pixels). */
export interface Scale {
  (value: number): number;
  readonly kind: 'linear' | 'log10';
  readonly domain: readonly [number, number];
  readonly range: readonly [number, number];
  readonly ticks: readonly Tick[];
}

/** Least and greatest of the finite values, or null where there is none. */
export function extent(values: Iterable<number>): [number, number] | null {
  let low = Number.POSITIVE_INFINITY;
  let high = Number.NEGATIVE_INFINITY;
  for (const value of values) {
    if (!Number.isFinite(value)) continue;
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  return low <= high ? [low, high] : null;
}

/** The domain made wider by a share of its length at both ends; a single value gets a span of its own. */
export function padded([low, high]: readonly [number, number], share: number): [number, number] {
  const length = high - low || Math.abs(low) * 0.2 || 1;
  const pad = high === low ? length / 2 : length * share;
  return [low - pad, high + pad];
}

/** As `padded`, with equal factors in place of equal lengths. The values must be above 0. */
export function paddedLog([low, high]: readonly [number, number], share: number): [number, number] {
  const factor = high === low ? 2 : (high / low) ** share;
  return [low / factor, high * factor];
}

function decimalsOf(step: number): number {
  return Math.max(0, -Math.floor(Math.log10(step) + 1e-9));
}

/** All labels of an axis in one notation: plain, or for learning rates 5e-4, or for counts of tokens 20M. */
function tickLabel(value: number, step: number, largest: number): string {
  if (largest >= 1e4) return compact(value);
  if (step >= 0.999e-3 || value === 0) return fixed(value, step >= 0.999e-3 ? decimalsOf(step) : 0);
  return (value < 0 ? MINUS : '') + Number(Math.abs(value).toPrecision(6)).toExponential();
}

/** About `count` multiples of 1, 2 or 5 times a power of ten, all of them inside [low, high]. */
export function linearTicks(low: number, high: number, count: number): Tick[] {
  const rough = (high - low) / Math.max(1, count);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5].find((multiple) => multiple * power >= rough * 0.999) ?? 10);
  const ticks: Tick[] = [];
  for (let k = Math.ceil(low / step - 1e-9); k <= high / step + 1e-9; k++) {
    const value = Number((k * step).toPrecision(12)) || 0;
    ticks.push({ value, label: tickLabel(value, step, Math.max(Math.abs(low), Math.abs(high))) });
  }
  return ticks;
}

/**
 * Powers of ten inside [low, high], with 2 and 5 times them where that leaves at most `count` labels, and unlabelled
 * minor ticks at the other digits. A domain too short for three such labels gets ticks as a linear axis would.
 */
export function logTicks(low: number, high: number, count: number): Tick[] {
  const first = Math.floor(Math.log10(low));
  const last = Math.ceil(Math.log10(high));
  const all: { value: number; digit: number; exponent: number }[] = [];
  for (let exponent = first; exponent <= last; exponent++) {
    for (let digit = 1; digit <= 9; digit++) {
      const value = Number(`${digit}e${exponent}`);
      if (value >= low * (1 - 1e-9) && value <= high * (1 + 1e-9)) all.push({ value, digit, exponent });
    }
  }
  const labelled = (digits: readonly number[]) => all.filter(({ digit }) => digits.includes(digit)).length;
  if (labelled([1, 2, 5]) < 3) return linearTicks(low, high, Math.min(count, 5));
  const digits = [
    [1, 2, 5],
    [1, 3],
  ].find((choice) => labelled(choice) <= count) ?? [1];
  const stride = Math.max(1, Math.ceil(labelled([1]) / count));
  return all
    .filter(({ digit }) => last - first <= 5 || digit === 1)
    .map(({ value, digit, exponent }) => ({
      value,
      label: digits.includes(digit) && exponent % stride === 0 ? compact(value) : '',
    }));
}

/** A linear scale with about `count` ticks. An empty domain is widened around its value. */
export function linearScale(
  domain: readonly [number, number],
  range: readonly [number, number],
  count: number = 5,
): Scale {
  const [low, high] = domain[0] < domain[1] ? domain : padded(domain, 0);
  const slope = (range[1] - range[0]) / (high - low);
  return Object.assign((value: number) => range[0] + (value - low) * slope, {
    kind: 'linear' as const,
    domain: [low, high] as const,
    range,
    ticks: linearTicks(low, high, count),
  });
}

/** A log10 scale with at most about `count` labels. The domain must be above 0. */
export function logScale(
  domain: readonly [number, number],
  range: readonly [number, number],
  count: number = 6,
): Scale {
  const [low, high] = domain[0] < domain[1] ? domain : paddedLog(domain, 0);
  if (!(low > 0)) throw new RangeError(`a log scale cannot begin at ${low}`);
  const slope = (range[1] - range[0]) / Math.log10(high / low);
  return Object.assign((value: number) => range[0] + Math.log10(value / low) * slope, {
    kind: 'log10' as const,
    domain: [low, high] as const,
    range,
    ticks: logTicks(low, high, count),
  });
}

/** True where the values are above 0 and span more than a factor of 8: then equal factors say more than differences. */
export function wantsLog(values: Iterable<number>): boolean {
  const span = extent(values);
  return span !== null && span[0] > 0 && span[1] / span[0] > 8;
}
