import { halfToFloat } from '../safetensors/read.js';
import type { ActivationArray } from './arrow-files.js';
import { fromBfloat16 } from './bfloat16.js';
import type { ActivationDType } from './manifest.js';

let halves: Float32Array | undefined;

/** Activations as float32: a new array, or the same where they are. */
export function widen(values: ActivationArray, dtype: ActivationDType): Float32Array {
  if (values instanceof Float32Array) return values;
  const wide = new Float32Array(values.length);
  if (dtype === 'bfloat16') {
    fromBfloat16(values, wide);
    return wide;
  }
  halves ??= Float32Array.from({ length: 2 ** 16 }, (_, bits) => halfToFloat(bits));
  for (let i = 0; i < values.length; i++) wide[i] = halves[values[i]!]!;
  return wide;
}
