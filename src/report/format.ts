/** Stands for a value that is missing or not a number. */
export const MISSING = '–';

/** A true minus sign. */
export const MINUS = '\u2212';

/** `digits` with commas between thousands, whatever the locale of the machine. */
function grouped(digits: string): string {
  const [whole = '', fraction] = digits.split('.');
  const commas = whole.replace(/\B(?=(\d{3})+$)/g, ',');
  return fraction === undefined ? commas : `${commas}.${fraction}`;
}

/** A value with a fixed number of decimals, a true minus sign, and no negative zero. */
export function fixed(value: number, decimals: number): string {
  if (!Number.isFinite(value)) return MISSING;
  const digits = Math.abs(value).toFixed(decimals);
  // toFixed leaves the exponent in from 1e21 on.
  if (digits.includes('e')) return String(value);
  return (value < 0 && Number(digits) !== 0 ? MINUS : '') + grouped(digits);
}

/** A whole number with commas. */
export function integer(value: number): string {
  return fixed(value, 0);
}

/** A share of 1 as a percentage, without the sign. */
export function percent(share: number, decimals: number): string {
  return fixed(100 * share, decimals);
}

const UNITS = [
  { size: 1e12, suffix: 'T' },
  { size: 1e9, suffix: 'B' },
  { size: 1e6, suffix: 'M' },
  { size: 1e3, suffix: 'k' },
];

/** A number as an axis or a sentence wants it: 50, 0.2, 3e-4, 20k, 1.5M, 2B; three significant digits at most. */
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

/** A setting as it was given, every digit of it: 3, 1e-4, 20k, 1,536, 1.23456. */
export function exact(value: number): string {
  if (!Number.isFinite(value)) return MISSING;
  if (Number(value.toPrecision(3)) === value) return compact(value);
  const digits = String(Math.abs(value));
  return (value < 0 ? MINUS : '') + (digits.includes('e') ? digits : grouped(digits));
}

/** A count and its noun: 1 SAE, 12 SAEs. */
export function counted(count: number, noun: string): string {
  return `${integer(count)} ${noun}${count === 1 ? '' : 's'}`;
}

/** a; a and b; a, b and c. */
export function listed(words: readonly string[]): string {
  if (words.length < 2) return words[0] ?? '';
  return `${words.slice(0, -1).join(', ')} and ${words.at(-1)}`;
}
