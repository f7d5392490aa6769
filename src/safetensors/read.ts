import { open } from 'node:fs/promises';
import { Refusal } from '../config/refusal.js';
import { readSafetensorsHeader, type SafetensorsDType, type TensorLocation } from './header.js';

/** The bytes of one tensor, as they lie in the file. */
export async function readTensorBytes({ path, offset, length }: TensorLocation): Promise<Uint8Array> {
  const bytes = new Uint8Array(length);
  const file = await open(path);
  try {
    for (let done = 0; done < length; ) {
      const { bytesRead } = await file.read(bytes, done, Math.min(length - done, 1 << 30), offset + done);
      if (bytesRead === 0)
        throw new Refusal(`${path} became shorter while it was read.`, 'Leave it alone while it is in use.');
      done += bytesRead;
    }
  } finally {
    await file.close();
  }
  return bytes;
}

/** A tensor of float32 values; float64, float16 and bfloat16 files are converted. */
export async function readFloats(location: TensorLocation): Promise<Float32Array> {
  const bytes = await readTensorBytes(location);
  switch (location.dtype) {
    case 'F32':
      return new Float32Array(bytes.buffer);
    case 'F64':
      return Float32Array.from(new Float64Array(bytes.buffer));
    case 'BF16': {
      const bits = new Uint32Array(new Uint16Array(bytes.buffer));
      for (let i = 0; i < bits.length; i++) bits[i] = bits[i]! << 16;
      return new Float32Array(bits.buffer);
    }
    case 'F16':
      return Float32Array.from(new Uint16Array(bytes.buffer), halfToFloat);
    default:
      throw new Refusal(
        `A tensor of ${location.path} holds ${location.dtype} where floating-point numbers belong.`,
        'Save the file again.',
      );
  }
}

/** Value of an IEEE 754 binary16 bit pattern. */
export function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 0x1f;
  const fraction = bits & 0x3ff;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

/** One tensor by name, with its shape. */
export interface NamedFloats {
  readonly shape: readonly number[];
  readonly dtype: SafetensorsDType;
  readonly values: Float32Array;
}

/** Every floating-point tensor of a small file (an SAE, a trainer state) as float32. */
export async function readAllFloats(path: string): Promise<Map<string, NamedFloats>> {
  const { tensors } = await readSafetensorsHeader(path);
  const floats = new Map<string, NamedFloats>();
  for (const [name, location] of tensors) {
    floats.set(name, { shape: location.shape, dtype: location.dtype, values: await readFloats(location) });
  }
  return floats;
}
