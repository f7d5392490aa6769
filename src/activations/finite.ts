import type { ActivationArray, Rows } from './arrow-files.js';
import type { ActivationDType } from './manifest.js';
import { widen } from './widen.js';

/** Index of the first entry that is NaN or infinite, −1 where there is none: all bits of its exponent are set. */
export function firstNotFinite(values: ActivationArray, dtype: ActivationDType): number {
  const bits =
    values instanceof Float32Array ? new Uint32Array(values.buffer, values.byteOffset, values.length) : values;
  const exponent = { float32: 0x7f800000, float16: 0x7c00, bfloat16: 0x7f80 }[dtype];
  for (let i = 0; i < bits.length; i++) if ((bits[i]! & exponent) === exponent) return i;
  return -1;
}

/**
 * Where rows hold something that is no number, for messages: "row 17 (context 5, position 12) holds NaN"; undefined
 * where they do not.
 *
 * @param before rows of the source before these
 */
export function notFiniteRow(
  { activation, token, context, pos }: Rows,
  dtype: ActivationDType,
  before = 0,
): string | undefined {
  const at = firstNotFinite(activation, dtype);
  if (at < 0) return undefined;
  const row = Math.floor(at / (activation.length / token.length));
  const [value] = widen(activation.subarray(at, at + 1), dtype);
  return `row ${before + row} (context ${context[row]}, position ${pos[row]}) holds ${value}`;
}
