/** Select: the batch centred, and the entries of its pre-activations that count, token-major and feature-major. */

/**
 * xc = s x − b_dec, padded with zeros; in bfloat16 too where products are. A target other than the input has b_dec for
 * itself, yc = s_out y − b_dec, and xc is s x. One block per token.
 */
export const centre = /* cuda */ `
extern "C" __global__ void centre(const centre_arguments a) {
  const long long b = blockIdx.x;
  for (int i = threadIdx.x; i < D_IN_ROW; i += blockDim.x) {
    float value = i < D_IN ? STORED(a.x[b * D_IN + i]) * SCALE : 0.0f;
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
    a.yc[b * D_OUT_ROW + i] = i < D_OUT ? STORED(a.y[b * D_OUT + i]) * SCALE_OUT - a.b_dec[i] : 0.0f;
  }
}
`;

/**
 * A bit for every active entry of a slice's pre-activations, and their number per token: the only pass over the whole
 * product. NaN is active, so that it reaches the loss. One block per token.
 *
 * p_slice [BATCH, SLICE] of features [first, first + count); first is a multiple of 32. mask [BATCH, WORDS].
 */
export const mark = /* cuda */ `
__device__ bool isActive(float p, float bias) {
  return !(p + bias <= 0.0f);
}

extern "C" __global__ void mark(const mark_arguments a) {
  const long long b = blockIdx.x;
  const float *row = a.p_slice + b * SLICE;
  int active = 0;
  for (int i = threadIdx.x; i < (a.count + 31) / 32 * 32; i += blockDim.x) {
    const bool is = i < a.count && isActive(row[i], a.bias[a.first + i]);
    const unsigned word = __ballot_sync(EVERY_LANE, is);
    if (threadIdx.x % 32 == 0) {
      a.mask[b * WORDS + (a.first + i) / 32] = word;
      active += __popc(word);
    }
  }
  int total;
  blockPrefix(active, &total);
  if (threadIdx.x == 0) a.counts[b] = total;
}
`;

/**
 * starts[i] = *end + counts[0] + … + counts[i − 1] for i up to and including n; *end becomes the last. One block, each
 * thread a run of counts. Beyond 2³¹ the starts are wrong and *end is not, so whoever reads them checks *end first.
 */
export const scan = /* cuda */ `
extern "C" __global__ void __launch_bounds__(1024) scan(const scan_arguments a) {
  const int each = (a.n + blockDim.x - 1) / blockDim.x;
  const int from = min(a.n, (int)threadIdx.x * each);
  const int to = min(a.n, from + each);
  long long sum = 0;
  for (int i = from; i < to; i++) sum += a.counts[i];
  __shared__ long long sums[1024];
  sums[threadIdx.x] = sum;
  const long long before = *a.end;
  __syncthreads();
  long long at = before;
  for (int t = 0; t < (int)threadIdx.x; t++) at += sums[t];
  for (int i = from; i < to; i++) {
    a.starts[i] = (int)at;
    at += a.counts[i];
  }
  if (threadIdx.x == blockDim.x - 1) {
    a.starts[a.n] = (int)at;
    *a.end = at;
  }
}
`;

/**
 * The k largest of a token's h = p + bias above 0; of equals, those of lower features. `shortlist` appends those of a
 * slice to the token's candidates, `choose` takes the k largest of them, features ascending, and marks them in the mask,
 * which is 0 before. A radix select: where the k-th largest lies is found digit by digit. NaN counts as the largest, so
 * that it reaches the loss. One block per token.
 *
 * candidate, candidate_p [BATCH, CANDIDATES]: feature and p; chosen_p [BATCH, TOP_K].
 */
export const largest = /* cuda */ `
// Grows with h where that is above 0, and is 0 elsewhere.
__device__ unsigned keyOf(float h) {
  if (h <= 0.0f) return 0u;
  return h == h ? __float_as_uint(h) : 0xffffffffu;
}

struct Radix { int histogram[256]; int digit, wanted; };
// Keys above this one are taken, and the first \`ties\` of those that equal it.
struct Cut { unsigned key; int ties; };

template <class KeyAt> __device__ Cut cutOf(Radix &radix, KeyAt keyAt, int n) {
  unsigned prefix = 0u;
  int wanted = TOP_K;
  for (int shift = 24; shift >= 0; shift -= 8) {
    for (int digit = threadIdx.x; digit < 256; digit += blockDim.x) radix.histogram[digit] = 0;
    __syncthreads();
    for (int i = threadIdx.x; i < n; i += blockDim.x) {
      const unsigned key = keyAt(i);
      const bool fits = shift == 24 || ((key ^ prefix) >> (shift + 8)) == 0u;
      if (key != 0u && fits) atomicAdd(radix.histogram + ((key >> shift) & 255u), 1);
    }
    __syncthreads();
    if (threadIdx.x == 0) {
      int digit = 255;
      for (; digit >= 0 && radix.histogram[digit] < wanted; digit--) wanted -= radix.histogram[digit];
      radix.digit = digit;
      radix.wanted = wanted;
    }
    __syncthreads();
    // Fewer are above 0 than may be taken.
    if (radix.digit < 0) return {0u, 0};
    wanted = radix.wanted;
    prefix |= (unsigned)radix.digit << shift;
  }
  return {prefix, wanted};
}

// Calls TAKE for each of n keys that the cut takes, with its place among them; all threads must come.
template <class KeyAt, class Take> __device__ int takeLargest(Cut cut, KeyAt keyAt, int n, Take take) {
  int taken = 0;
  int ties = 0;
  for (int tile = 0; tile < n; tile += blockDim.x) {
    const int i = tile + threadIdx.x;
    const unsigned key = i < n ? keyAt(i) : 0u;
    const bool equal = key != 0u && key == cut.key;
    int all;
    const int tie = ties + blockPrefix(equal ? 1 : 0, &all);
    ties += all;
    const bool is = key > cut.key || (equal && tie < cut.ties);
    const int place = taken + blockPrefix(is ? 1 : 0, &all);
    taken += all;
    if (is) take(i, place);
  }
  return taken;
}

extern "C" __global__ void shortlist(const shortlist_arguments a) {
  __shared__ Radix radix;
  const long long b = blockIdx.x;
  const float *row = a.p_slice + b * SLICE;
  const int before = a.first == 0 ? 0 : a.candidate_counts[b];
  const long long at = b * CANDIDATES + before;
  auto keyAt = [&](int i) { return keyOf(row[i] + a.bias[a.first + i]); };
  const int more = takeLargest(cutOf(radix, keyAt, a.count), keyAt, a.count, [&](int i, int place) {
    a.candidate[at + place] = a.first + i;
    a.candidate_p[at + place] = row[i];
  });
  if (threadIdx.x == 0) a.candidate_counts[b] = before + more;
}

extern "C" __global__ void choose(const choose_arguments a) {
  __shared__ Radix radix;
  const long long b = blockIdx.x;
  const float *p = a.candidate_p + b * CANDIDATES;
  const int *feature = a.candidate + b * CANDIDATES;
  auto keyAt = [&](int i) { return keyOf(p[i] + a.bias[feature[i]]); };
  const int n = a.candidate_counts[b];
  const int chosen = takeLargest(cutOf(radix, keyAt, n), keyAt, n, [&](int i, int place) {
    const int j = feature[i];
    atomicOr(a.mask + b * WORDS + j / 32, 1u << (j % 32));
    a.chosen_p[b * TOP_K + place] = p[i];
  });
  if (threadIdx.x == 0) a.counts[b] = chosen;
}
`;

/**
 * Lists active entries of features [first, first + count), token after token, features ascending: feature and p. word_start [BATCH, WORDS] keeps
 * where the entries of each word begin. Nothing is written where there is too little room: the step is then repeated
 * with more. One block per token.
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
#if TOP_K
      a.p[k] = a.chosen_p[b * TOP_K + k - a.token_start[b]];
#else
      a.p[k] = a.p_slice[b * SLICE + i];
#endif
    }
    at += all;
  }
}
`;

/**
 * The same entries feature-major, tokens ascending: a counting sort on the mask. A warp takes a word, 32 features, and
 * CHUNK tokens; where its features' entries begin comes from the counts before it, so no order is left to chance.
 *
 * chunk_counts [chunks, N_FEATURES]: entries of each feature within a chunk, then of the chunks before.
 */
export const regroup = /* cuda */ `
// Calls VISIT for each token of the chunk whose word is not empty, all lanes together: token and word are set.
#define FOR_WORDS(VISIT)                                                             \\
  for (int from = blockIdx.y * CHUNK; from < min(BATCH, ((int)blockIdx.y + 1) * CHUNK); from += 32) { \\
    const int mine = from + lane;                                                    \\
    const unsigned loaded = mine < BATCH ? a.mask[(long long)mine * WORDS + w] : 0u; \\
    for (unsigned left = __ballot_sync(EVERY_LANE, loaded != 0u); left != 0u; left &= left - 1u) { \\
      const int t = __ffs((int)left) - 1;                                            \\
      const int token = from + t;                                                    \\
      const unsigned word = __shfl_sync(EVERY_LANE, loaded, t);                      \\
      VISIT                                                                          \\
    }                                                                                \\
  }

extern "C" __global__ void countColumns(const countColumns_arguments a) {
  const int lane = threadIdx.x % 32;
  const int w = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
  if (w >= WORDS) return;
  const int j = w * 32 + lane;
  int count = 0;
  FOR_WORDS(count += (word >> lane) & 1u; (void)token;)
  if (j < N_FEATURES) a.chunk_counts[(long long)blockIdx.y * N_FEATURES + j] = count;
}

extern "C" __global__ void prefixChunks(const prefixChunks_arguments a) {
  const int j = blockIdx.x * blockDim.x + threadIdx.x;
  if (j >= N_FEATURES) return;
  int sum = 0;
  for (int c = 0; c < a.chunks; c++) {
    const int count = a.chunk_counts[(long long)c * N_FEATURES + j];
    a.chunk_counts[(long long)c * N_FEATURES + j] = sum;
    sum += count;
  }
  a.feature_counts[j] = sum;
}

extern "C" __global__ void fillColumns(const fillColumns_arguments a) {
  if (*a.total > a.room) return;
  const int lane = threadIdx.x % 32;
  const int w = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
  if (w >= WORDS) return;
  const int j = w * 32 + lane;
  int at = 0;
  if (j < N_FEATURES) at = a.feature_start[j] + a.chunk_counts[(long long)blockIdx.y * N_FEATURES + j];
  FOR_WORDS(
    if ((word >> lane) & 1u) {
      a.token[at] = token;
      a.entry[at] = a.word_start[(long long)token * WORDS + w] + __popc(word & ((1u << lane) - 1u));
      at++;
    }
  )
}
`;
