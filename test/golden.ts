import { readSafetensorsHeader } from '../src/safetensors/file.js';
import { readFloats, readTensorBytes } from '../src/safetensors/floats.js';

/** A file of reference data made by scripts/golden.py. */
export async function openGolden(name: string) {
  const path = `test/golden/${name}.safetensors`;
  const { tensors, metadata } = await readSafetensorsHeader(path);
  const location = (tensor: string) => {
    const found = tensors.get(tensor);
    if (!found) throw new Error(`${path} has no tensor ${tensor}`);
    return found;
  };
  return {
    names: [...tensors.keys()],
    metadata,
    location,
    floats: (tensor: string): Promise<Float32Array> => readFloats(location(tensor)),
    ints: async (tensor: string): Promise<Int32Array> =>
      new Int32Array((await readTensorBytes(location(tensor))).buffer as ArrayBuffer),
    /** An int64 tensor, as numbers. */
    ints64: async (tensor: string): Promise<number[]> =>
      Array.from(new BigInt64Array((await readTensorBytes(location(tensor))).buffer as ArrayBuffer), Number),
    /** A float64 tensor of one entry. */
    scalar: async (tensor: string): Promise<number> =>
      new Float64Array((await readTensorBytes(location(tensor))).buffer as ArrayBuffer)[0]!,
    doubles: async (tensor: string): Promise<Float64Array> =>
      new Float64Array((await readTensorBytes(location(tensor))).buffer as ArrayBuffer),
  };
}

/** Largest |a − b| over the largest |b|. */
export function relativeDifference(a: ArrayLike<number>, b: ArrayLike<number>): number {
  if (a.length !== b.length) throw new Error(`lengths differ: ${a.length} and ${b.length}`);
  let difference = 0;
  let largest = 0;
  for (let i = 0; i < a.length; i++) {
    // NaN must not pass as a small difference.
    const d = Math.abs(a[i]! - b[i]!);
    if (!(d <= difference)) difference = d;
    largest = Math.max(largest, Math.abs(b[i]!));
  }
  return difference / (largest || 1);
}
