/**
 * A bit for every active entry of a slice's pre-activations, and their number for each token: the only reading of the
 * whole product. A block a token.
 *
 * p [BATCH, SLICE] of features [first, first + count); first is a multiple of 32. mask [BATCH, WORDS].
 */
export const mark = /* cuda */ `
extern "C" __global__ void mark(
    const float *p, const float *bias, int first, int count, unsigned *mask, int *counts) {
  const long long b = blockIdx.x;
  const float *row = p + b * SLICE;
  int active = 0;
  for (int i = threadIdx.x; i < (count + 31) / 32 * 32; i += blockDim.x) {
    const bool is = i < count && isActive(row[i], bias[first + i]);
    const unsigned word = __ballot_sync(EVERY_LANE, is);
    if (threadIdx.x % 32 == 0) {
      mask[b * WORDS + (first + i) / 32] = word;
      active += __popc(word);
    }
  }
  int total;
  blockPrefix(active, &total);
  if (threadIdx.x == 0) counts[b] = total;
}
`;
