/** Select: the batch centred, and the entries of its pre-activations that count, token-major and feature-major. */

/**
 * xc = s (m ∘ x) − b_dec, padded with zeros; in bfloat16 too where products are. A target other than the input has
 * b_dec for itself, yc = s_out (m_out ∘ y) − b_dec, and xc is s (m ∘ x). One block per token.
 */
export const centre = /* cuda */ `
// A product that is rounded before anything is added to it, as the other engines round it.
#if FACTORS
#define WIDENED(x, factors, i) __fmul_rn(STORED(x), (factors)[i])
#else
#define WIDENED(x, factors, i) STORED(x)
#endif

extern "C" __global__ void centre(const centre_arguments a) {
  const long long b = blockIdx.x;
  for (int i = threadIdx.x; i < D_IN_ROW; i += blockDim.x) {
    float value = i < D_IN ? WIDENED(a.x[b * D_IN + i], a.x_factors, i) * SCALE : 0.0f;
#if !TARGET
    if (i < D_IN) value -= a.b_dec[i];
#endif
    a.xc[b * D_IN_ROW + i] = value;
#if BFLOAT16
    a.xc_bfloat16[b * D_IN_ROW + i] = toBfloat16(value);
#endif
  }
}

extern "C" __global__ void centreTarget(const centreTarget_arguments a) {
  const long long b = blockIdx.x;
  for (int i = threadIdx.x; i < D_OUT_ROW; i += blockDim.x) {
    a.yc[b * D_OUT_ROW + i] =
        i < D_OUT ? WIDENED(a.y[b * D_OUT + i], a.y_factors, i) * SCALE_OUT - a.b_dec[i] : 0.0f;
  }
}

extern "C" __global__ void centreScaled(const centreScaled_arguments a) {
  const long long b = blockIdx.x;
  for (int i = threadIdx.x; i < D_IN_ROW; i += blockDim.x) {
#if !TARGET
    if (i < D_IN) a.xc[b * D_IN_ROW + i] -= a.b_dec[i];
#endif
#if BFLOAT16
    a.xc_bfloat16[b * D_IN_ROW + i] = toBfloat16(a.xc[b * D_IN_ROW + i]);
#endif
  }
#if TARGET
  for (int i = threadIdx.x; i < D_OUT; i += blockDim.x) a.yc[b * D_OUT_ROW + i] -= a.b_dec[i];
#endif
}
`;

/**
 * Sets the bits of the entries of a row that are active, 0 if they are not listed, and returns the number of those
 * that are to every thread. All threads of the block must come; `is` is called for entries [0, count).
 */
export const markWords = /* cuda */ `
// Loads that are under way at once.
#define MARK_LOADS 8

template <class IsAt> __device__ int markWords(unsigned *words, int count, bool listed, IsAt isAt) {
  const int padded = (count + 31) / 32 * 32;
  int active = 0;
  // Whole warps come or do not: blocks and padded are multiples of 32.
  for (int tile = 0; tile < padded; tile += MARK_LOADS * blockDim.x) {
    bool is[MARK_LOADS];
#pragma unroll
    for (int c = 0; c < MARK_LOADS; c++) {
      const int i = tile + c * blockDim.x + threadIdx.x;
      is[c] = i < count && isAt(i);
    }
#pragma unroll
    for (int c = 0; c < MARK_LOADS; c++) {
      const int i = tile + c * blockDim.x + threadIdx.x;
      const unsigned word = __ballot_sync(EVERY_LANE, is[c]);
      if (threadIdx.x % 32 != 0 || i >= padded) continue;
      words[i / 32] = listed ? word : 0u;
      active += __popc(word);
    }
  }
  int total;
  blockPrefix(active, &total);
  return total;
}
`;

/**
 * A bit for every active entry of a slice's pre-activations, and their number per token: the only pass over the whole
 * product. NaN is active, so that it reaches the loss. One block per token.
 *
 * p_slice [BATCH, SLICE] of features [first, first + count); first is a multiple of 32. mask [BATCH, WORDS].
 */
export const mark = /* cuda */ `
extern "C" __global__ void mark(const mark_arguments a) {
  const long long b = blockIdx.x;
  const float *row = a.p_slice + b * SLICE;
  auto isAt = [&](int i) { return isEntry(scalarsAt(a, a.first + i), row[i]); };
  const int total = markWords(a.mask + b * WORDS + a.first / 32, a.count, a.listed, isAt);
  if (threadIdx.x == 0) a.counts[b] = total;
}
`;

/**
 * Lists active entries of features [first, first + count), token after token, features ascending: feature and p.
 * word_start [BATCH, WORDS] keeps where the entries of each word begin. Nothing is written where there is too little
 * room: the step is then repeated with more. One block per token.
 */
export const gather = /* cuda */ `
extern "C" __global__ void gather(const gather_arguments a) {
  if (*a.total > a.room) return;
  const long long b = blockIdx.x;
  const int words = (a.count + 31) / 32;
  int at = a.token_start[b];
  for (int tile = 0; tile < words; tile += blockDim.x) {
    const int w = tile + threadIdx.x;
    const long long place = b * WORDS + a.first / 32 + w;
    unsigned word = w < words ? a.mask[place] : 0u;
    int all;
    int k = at + blockPrefix(__popc(word), &all);
    if (w < words) a.word_start[place] = k;
    for (; word != 0u; word &= word - 1u, k++) {
      const int i = w * 32 + __ffs((int)word) - 1;
      a.feature[k] = a.first + i;
      a.p[k] = a.most ? a.chosen_p[b * a.most + k - a.token_start[b]] : a.p_slice[b * SLICE + i];
    }
    at += all;
  }
}
`;
