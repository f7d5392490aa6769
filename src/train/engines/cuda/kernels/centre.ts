/** xc = s x − b_dec, padded with zeros; in bfloat16 too where products are. A block a token. */
export const centre = /* cuda */ `
#if HALF_BATCH
typedef unsigned short Stored;
#define STORED(x) widen(x)
#else
typedef float Stored;
#define STORED(x) (x)
#endif

extern "C" __global__ void centre(const Stored *x, const float *b_dec, float *xc, unsigned short *rounded) {
  const long long b = blockIdx.x;
  for (int i = threadIdx.x; i < D_ROW; i += blockDim.x) {
    const float value = i < D_IN ? STORED(x[b * D_IN + i]) * SCALE - b_dec[i] : 0.0f;
    xc[b * D_ROW + i] = value;
#if BFLOAT16
    rounded[b * D_ROW + i] = toBfloat16(value);
#endif
  }
}
`;
