/**
 * Bits of an element of every type that the format has (safetensors 0.8). Types that we do not compute with are known so
 * that a file may hold them: a tensor is refused when it is needed, not when it is passed over.
 */
export const SAFETENSORS_BITS = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
} as const;
export type SafetensorsDType = keyof typeof SAFETENSORS_BITS;

export function isSafetensorsDType(name: string): name is SafetensorsDType {
  return Object.hasOwn(SAFETENSORS_BITS, name);
}

/** Bytes that a tensor takes; NaN where its bits do not fill bytes, or a product is beyond exact integers. */
export function tensorBytes(dtype: SafetensorsDType, shape: readonly number[]): number {
  let bits: number = SAFETENSORS_BITS[dtype];
  for (const dim of shape) {
    bits *= dim;
    if (!Number.isSafeInteger(bits)) return Number.NaN;
  }
  return bits % 8 === 0 ? bits / 8 : Number.NaN;
}
