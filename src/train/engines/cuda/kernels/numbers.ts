/** float16 to float32 by its bits, exactly; float32 to bfloat16, to the nearest, ties to even. NaN stays NaN. */
export const numbers = /* cuda */ `
__device__ float widen(unsigned short half) {
  const unsigned magnitude = (unsigned)(half & 0x7fff) << 13;
  const unsigned sign = (unsigned)(half & 0x8000) << 16;
  // The exponents' biases differ by 112; multiplying also gives subnormals their value.
  const unsigned finite = __float_as_uint(__uint_as_float(magnitude) * __uint_as_float(0x77800000u));
  const unsigned special = magnitude >= (0x7c00u << 13) ? 0x7f800000u : 0u;
  return __uint_as_float(sign | finite | special);
}

__device__ unsigned short toBfloat16(float value) {
  const unsigned bits = __float_as_uint(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (unsigned short)((bits >> 16) | 0x40u);
  return (unsigned short)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}
`;
