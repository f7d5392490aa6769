/**
 * Lists a slice's active entries, token after token, features ascending: feature and p. word_start [BATCH, WORDS] keeps
 * where the entries of each word begin. Nothing is written where the room does not suffice: the step is then repeated
 * with more. A block a token.
 */
export const gather = /* cuda */ `
extern "C" __global__ void gather(
    const float *p, const unsigned *mask, const int *token_start, int first, int count, int *word_start, int *feature,
    float *p_entry, const long long *total, long long room) {
  if (*total > room) return;
  const long long b = blockIdx.x;
  const int words = (count + 31) / 32;
  int at = token_start[b];
  for (int tile = 0; tile < words; tile += blockDim.x) {
    const int w = tile + threadIdx.x;
    const long long place = b * WORDS + first / 32 + w;
    unsigned word = w < words ? mask[place] : 0u;
    int all;
    int k = at + blockPrefix(__popc(word), &all);
    if (w < words) word_start[place] = k;
    for (; word != 0u; word &= word - 1u, k++) {
      const int i = w * 32 + __ffs((int)word) - 1;
      feature[k] = first + i;
      p_entry[k] = p[b * SLICE + i];
    }
    at += all;
  }
}
`;
