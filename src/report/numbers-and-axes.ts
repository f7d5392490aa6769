/** Placeholder for a value that is missing or not a number. */
export const MISSING = '–';

/** A true minus sign. */
const MINUS = '\u2212';

/** `digits` with thousands separators, independent of the locale. */
function grouped(digits: string): string {
  const [whole = '', fraction] = digits.split('.');
  const commas = whole.replace(/\B(?=(\d{3})+$)/g, ',');
  return fraction === undefined ? commas : `${commas}.${fraction}`;
}

/** A value with a fixed number of decimals, a true minus sign, and no negative zero. */
export function fixed(value: number, decimals: number): string {
  if (!Number.isFinite(value)) return MISSING;
  const digits = Math.abs(value).toFixed(decimals);
  // toFixed switches to exponents from 1e21 on.
  if (digits.includes('e')) return String(value);
  return (value < 0 && Number(digits) !== 0 ? MINUS : '') + grouped(digits);
}

/** An integer with thousands separators. */
export function integer(value: number): string {
  return fixed(value, 0);
}

/** A share as a percentage, without the sign. */
export function percent(share: number, decimals: number): string {
  return fixed(100 * share, decimals);
}

const UNITS = [
  { size: 1e12, suffix: 'T' },
  { size: 1e9, suffix: 'B' },
  { size: 1e6, suffix: 'M' },
  { size: 1e3, suffix: 'k' },
];

/** A number for an axis or a sentence: 50, 0.2, 3e-4, 20k, 1.5M, 2B; at most three significant digits. */
export function compact(value: number): string {
  if (!Number.isFinite(value)) return MISSING;
  const rounded = Number(value.toPrecision(3));
  const size = Math.abs(rounded);
  const sign = rounded < 0 ? MINUS : '';
  if (size >= 1e15) return sign + size.toExponential();
  const unit = size >= 1e4 ? UNITS.find((candidate) => size >= candidate.size) : undefined;
  if (unit !== undefined) return `${sign}${Number((size / unit.size).toPrecision(3))}${unit.suffix}`;
  if (size !== 0 && size < 1e-3) return sign + size.toExponential();
  return sign + grouped(String(size));
}

/** A setting with all its digits: 3, 1e-4, 20k, 1,536, 1.23456. */
export function exact(value: number): string {
  if (!Number.isFinite(value)) return MISSING;
  if (Number(value.toPrecision(3)) === value) return compact(value);
  const digits = String(Math.abs(value));
  return (value < 0 ? MINUS : '') + (digits.includes('e') ? digits : grouped(digits));
}

/** A setting where there is little room: as given, or to 4 digits where it was found by a computation (0.28219490944…). */
export function shortSetting(value: number): string {
  const short = Number(value.toPrecision(4));
  return exact(Number(value.toPrecision(6)) === value ? value : short);
}

/** A count and its noun: 1 SAE, 12 SAEs. */
export function counted(count: number, noun: string): string {
  return `${integer(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/** Minimum and maximum of the finite values, or null if there are none. */
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

/** The value below which a share of the finite values lies; NaN if there are none. */
export function nearestRank(values: Iterable<number>, share: number): number {
  const sorted = [...values].filter(Number.isFinite).sort((a, b) => a - b);
  return sorted[Math.round(share * (sorted.length - 1))] ?? Number.NaN;
}

/** The domain extended at both ends by a share of its length; a single value gets an interval around it. */
export function paddedDomain([low, high]: readonly [number, number], share: number): [number, number] {
  const length = high - low || Math.abs(low) * 0.2 || 1;
  const pad = high === low ? length / 2 : length * share;
  return [low - pad, high + pad];
}

/**
 * The domain of a log axis over the positive values: extended at both ends by a share of its length, and at least a
 * factor of `least` long, so that close values look close. [1, 10] if no value is positive.
 */
export function logDomain(values: Iterable<number>, share: number, least = 2): [number, number] {
  const span = extent([...values].filter((value) => value > 0));
  if (span === null) return [1, 10];
  const [low, high] = span;
  const pad = Math.max((high / low) ** share, Math.sqrt((least * low) / high));
  return [low / pad, high * pad];
}

/** Are the values positive, spanning more than a factor of 8? Then a log axis is better. */
export function wantsLog(values: Iterable<number>): boolean {
  const span = extent(values);
  return span !== null && span[0] > 0 && span[1] / span[0] > 8;
}

const range = (from: number, to: number) => Array.from({ length: to - from + 1 }, (_, i) => from + i);

/** Digits within a decade that get a tick, by decreasing number. */
const DIGITS = [
  range(10, 99).map((i) => i / 10),
  range(5, 49).map((i) => i / 5),
  range(2, 19).map((i) => i / 2),
  range(1, 9),
  [1, 2, 3, 4, 6, 8],
  [1, 2, 5],
  [1, 3],
  [1],
];

/**
 * Ticks of a log axis, at as many digits per decade as labels fit.
 *
 * @param most max number of labels if equally spaced
 */
export function logTicks([low, high]: readonly [number, number], most: number): number[] {
  const decades = range(Math.floor(Math.log10(low)), Math.ceil(Math.log10(high)));
  const least = Math.log(high / low) / most;
  const ticks = (digits: readonly number[]) =>
    decades
      .flatMap((exponent) => digits.map((digit) => Number(`${digit}e${exponent}`)))
      .filter((value) => value >= low && value <= high);
  const apart = (values: readonly number[]) =>
    values.every((value, i) => i === 0 || Math.log(value / values[i - 1]!) >= least);
  const found = DIGITS.map(ticks).find(apart);
  if (found !== undefined) return found;
  const powers = ticks([1]);
  return powers.filter((_, i) => i % Math.ceil(powers.length / most) === 0);
}
