import { Refusal } from '../config/refusal.js';
import { openRegular, refusedRead } from '../disk/regular-file.js';
import { readSafetensorsHeader, type SafetensorsDType, type TensorLocation } from './header.js';

/** The bytes of one tensor, as they lie in the file. */
export async function readTensorBytes({ path, offset, length }: TensorLocation): Promise<Uint8Array> {
  const shorter = () => new Refusal(`${path} became shorter while it was read.`, 'Leave it alone while it is in use.');
  const file = await openRegular(path);
  if (!file) throw new Refusal(`${path} vanished while it was read.`, 'Leave it alone while it is in use.');
  try {
    // Before memory is taken for what is no longer there.
    if (file.size < offset + length) throw shorter();
    const bytes = new Uint8Array(length);
    for (let done = 0; done < length; ) {
      const { bytesRead } = await file.handle.read(bytes, done, Math.min(length - done, 1 << 30), offset + done);
      if (bytesRead === 0) throw shorter();
      done += bytesRead;
    }
    return bytes;
  } catch (cause) {
    throw refusedRead(path, cause);
  } finally {
    await file.handle.close();
  }
}

/** Element types that are read as float32. */
const FLOATS: ReadonlySet<SafetensorsDType> = new Set(['F64', 'F32', 'F16', 'BF16'] as const);

/**
 * A tensor of float32 values; float64, float16 and bfloat16 files are converted.
 *
 * @param name of the tensor, for messages
 * @throws Refusal where it is of another type
 */
export async function readFloats(location: TensorLocation, name = 'A tensor'): Promise<Float32Array> {
  if (!FLOATS.has(location.dtype)) {
    throw new Refusal(
      `${name} of ${location.path} holds ${location.dtype} where floating-point numbers of 16, 32 or 64 bits belong.`,
      'Save the file again.',
    );
  }
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
    default:
      return Float32Array.from(new Uint16Array(bytes.buffer), halfToFloat);
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
    floats.set(name, { shape: location.shape, dtype: location.dtype, values: await readFloats(location, name) });
  }
  return floats;
}
