// Numbers as displayed: few digits, the same everywhere.

const GROUPED = new Intl.NumberFormat('en');

/** 1234567 → "1,234,567". */
export function integerText(value: number): string {
  return GROUPED.format(value);
}

/** An activation or a norm: three significant digits. */
export function activationText(value: number | null): string {
  if (value === null || !Number.isFinite(value)) return '–';
  if (value === 0) return '0';
  const size = Math.abs(value);
  if (size >= 9999.5) return integerText(Math.round(value));
  if (size < 0.001) return value.toExponential(1).replace('e-', 'e−');
  return minus(value.toFixed(size >= 99.95 ? 0 : size >= 9.995 ? 1 : size >= 0.1 ? 2 : 3));
}

/** A share as a percentage with two significant digits: 0.00042 → "0.042%". */
export function shareText(value: number): string {
  const percent = value * 100;
  if (percent === 0) return '0%';
  if (percent < 0.0001) return `${percent.toExponential(0).replace('e-', 'e−')}%`;
  const decimals =
    percent >= 99.95 ? 0 : percent >= 9.95 ? 1 : Math.min(6, Math.max(0, 1 - Math.floor(Math.log10(percent))));
  return `${percent.toFixed(decimals)}%`;
}

/** A round value on an axis, or a power of two, without trailing zeros: "20", "0.0625". */
export function roundText(value: number): string {
  return minus(String(Number(value.toPrecision(4)))).replace('e-', 'e−');
}

/** A cosine or a correlation. */
export function cosineText(value: number | null): string {
  return value === null || !Number.isFinite(value) ? '–' : minus(value.toFixed(2));
}

/** With its sign: "+1.23", "−0.40". */
export function signedText(value: number): string {
  return value > 0 ? `+${value.toFixed(2)}` : minus(value.toFixed(2));
}

/** Position of a value between two others on a logarithmic scale, from 0 to 1. */
export function logPlace(value: number, least: number, most: number): number {
  if (!(value > 0)) return 0;
  const place = Math.log(value / least) / Math.log(most / least);
  return Math.min(1, Math.max(0, place));
}

function minus(text: string): string {
  return text.replace('-', '−');
}
