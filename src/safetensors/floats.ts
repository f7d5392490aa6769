import { openRegular, refusedRead } from '../disk/input-file.js';
import { Refusal } from '../errors/refusal.js';
import { readSafetensorsHeader, type SafetensorsDType, type TensorLocation } from './file.js';

/** The bytes of one tensor, as stored in the file. */
export async function readTensorBytes({ path, offset, length }: TensorLocation): Promise<Uint8Array> {
  const shorter = () =>
    new Refusal(
      `${path} was truncated while being read.`,
      'Leave it alone while it is in use.',
      'safetensors/shortened',
    );
  const file = await openRegular(path);
  if (!file)
    throw new Refusal(
      `${path} disappeared while being read.`,
      'Leave it alone while it is in use.',
      'safetensors/vanished',
    );
  try {
    // Before allocating memory for data that no longer exist.
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

/** Floats in memory: bits of float16 or bfloat16, or float32. */
type FloatArray = Uint16Array | Float32Array;
type FloatDType = 'float16' | 'bfloat16' | 'float32';

/** Element types that can be read as float32. */
const FLOATS: ReadonlySet<SafetensorsDType> = new Set(['F64', 'F32', 'F16', 'BF16'] as const);

/**
 * A tensor of float32 values; float64, float16 and bfloat16 files are converted.
 *
 * @param name of the tensor, for messages
 * @throws Refusal if it has another type
 */
export async function readFloats(location: TensorLocation, name = 'A tensor'): Promise<Float32Array> {
  if (!FLOATS.has(location.dtype)) {
    throw new Refusal(
      `${name} of ${location.path} has type ${location.dtype} instead of floating-point numbers of 16, 32 or 64 bits.`,
      'Save the file again.',
      'safetensors/wrong-dtype',
    );
  }
  const bytes = await readTensorBytes(location);
  switch (location.dtype) {
    case 'F32':
      return new Float32Array(bytes.buffer);
    case 'F64':
      return Float32Array.from(new Float64Array(bytes.buffer));
    case 'BF16': {
      const bits = new Uint16Array(bytes.buffer);
      const wide = new Float32Array(bits.length);
      fromBfloat16(bits, wide);
      return wide;
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
interface NamedFloats {
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

/** Float32 to bfloat16 bits, rounding to nearest, ties to even; NaN stays NaN. */
export function toBfloat16(values: Float32Array): Uint16Array {
  const bits = new Uint32Array(values.buffer, values.byteOffset, values.length);
  const rounded = new Uint16Array(values.length);
  for (let i = 0; i < bits.length; i++) {
    const b = bits[i]!;
    const notANumber = (b & 0x7fffffff) > 0x7f800000;
    rounded[i] = notANumber ? (b >>> 16) | 0x40 : (b + 0x7fff + ((b >>> 16) & 1)) >>> 16;
  }
  return rounded;
}

/** Widens bfloat16 bits into `target`. */
export function fromBfloat16(bits: Uint16Array, target: Float32Array): void {
  const wide = new Uint32Array(target.buffer, target.byteOffset, bits.length);
  for (let i = 0; i < bits.length; i++) wide[i] = bits[i]! << 16;
}

let allHalves: Float32Array | undefined;

/** All values of binary16, indexed by their bits: a lookup is faster than the arithmetic. */
export function halfValues(): Float32Array {
  allHalves ??= Float32Array.from({ length: 2 ** 16 }, (_, bits) => halfToFloat(bits));
  return allHalves;
}

let allBfloat16s: Float32Array | undefined;

/** All values of bfloat16, indexed by their bits. */
export function bfloat16Values(): Float32Array {
  if (!allBfloat16s) {
    allBfloat16s = new Float32Array(2 ** 16);
    fromBfloat16(Uint16Array.from(allBfloat16s.keys()), allBfloat16s);
  }
  return allBfloat16s;
}

/** Activations as float32: converted into `wide`, or the same array if they already are. */
export function widen(values: FloatArray, dtype: FloatDType, wide?: Float32Array): Float32Array {
  if (values instanceof Float32Array) return values;
  wide ??= new Float32Array(values.length);
  if (dtype === 'bfloat16') {
    fromBfloat16(values, wide);
    return wide;
  }
  const halves = halfValues();
  for (let i = 0; i < values.length; i++) wide[i] = halves[values[i]!]!;
  return wide;
}

/** Bits of the exponent; all are set only in NaN and infinities. */
const EXPONENT = { float32: 0x7f800000, float16: 0x7c00, bfloat16: 0x7f80 } as const;
/** Number of 32-bit words tested together. */
const BLOCK = 2 ** 12;

/** Index of the first NaN or infinite entry, −1 if none. */
export function firstNotFinite(values: FloatArray, dtype: FloatDType): number {
  const exponent = EXPONENT[dtype];
  const bits =
    values instanceof Float32Array ? new Uint32Array(values.buffer, values.byteOffset, values.length) : values;
  const first = (from: number, to: number) => {
    for (let i = from; i < to; i++) if ((bits[i]! & exponent) === exponent) return i;
    return -1;
  };
  const each = 4 / bits.BYTES_PER_ELEMENT;
  if (bits.length === 0) return -1;
  // Words are aligned to their size; unaligned entries before and after are tested one by one.
  const ahead = Math.min(bits.length, ((4 - (bits.byteOffset % 4)) % 4) / bits.BYTES_PER_ELEMENT);
  const words = new Int32Array(
    bits.buffer,
    bits.byteOffset + ahead * bits.BYTES_PER_ELEMENT,
    Math.floor((bits.length - ahead) / each),
  );
  let at = first(0, ahead);
  for (let from = 0; at < 0 && from < words.length; from += BLOCK) {
    const to = Math.min(words.length, from + BLOCK);
    if (someFull(words, from, to, each === 2 ? (exponent << 16) | exponent : exponent, each)) {
      at = first(ahead + each * from, ahead + each * to);
    }
  }
  return at < 0 ? first(ahead + each * words.length, bits.length) : at;
}

/**
 * Does any of the words, or of their halves, have all exponent bits set? Adding the lowest exponent bit then carries
 * into the sign.
 */
function someFull(words: Int32Array, from: number, to: number, exponent: number, each: number): boolean {
  const signs = each === 2 ? 0x80008000 | 0 : 0x80000000 | 0;
  const lowest = (exponent & ~(exponent << 1)) | 0;
  const carries = (word: number) => ((word & exponent) + lowest) | 0;
  const whole = from + ((to - from) & ~3);
  let carried = 0;
  for (let i = from; i < whole; i += 4) {
    carried |= carries(words[i]!) | carries(words[i + 1]!) | carries(words[i + 2]!) | carries(words[i + 3]!);
  }
  for (let i = whole; i < to; i++) carried |= carries(words[i]!);
  return (carried & signs) !== 0;
}
