/** Select a token's largest, of all features or of those that are dead: a radix select over slices, then over what they leave. */

/** Entries by the order of integers. NaN counts as the largest, so that it reaches the loss. */
export const keys = /* cuda */ `
// Grows with h where that is above 0, and is 0 elsewhere.
__device__ unsigned keyOf(float h) {
  if (h <= 0.0f) return 0u;
  return h == h ? __float_as_uint(h) : 0xffffffffu;
}
`;

/**
 * The `most` largest of a token's h = p + bias above 0; of equals, those of lower features. `shortlist` appends those of
 * a slice to the token's candidates, `choose` takes the largest of them, features ascending, and marks them in the mask,
 * which is 0 before. A radix select: where the last of them lies is found digit by digit. NaN counts as the largest, so
 * that it reaches the loss. One block per token.
 *
 * candidate, candidate_p [BATCH, candidates]: feature and p; chosen_p [BATCH, most].
 */
export const largest = /* cuda */ `
struct Radix { int histogram[256]; int digit, wanted; };
// Keys above this one are taken, and the first \`ties\` of those that equal it.
struct Cut { unsigned key; int ties; };

template <class KeyAt> __device__ Cut cutOf(Radix &radix, KeyAt keyAt, int n, int wanted) {
  unsigned prefix = 0u;
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
  const long long at = b * a.candidates + before;
  auto keyAt = [&](int i) {
    const int j = a.first + i;
    return a.from_dead && !(a.since_fired[j] >= DEAD_WINDOW) ? 0u : keyOf(row[i] + a.bias[j]);
  };
  const Cut cut = cutOf(radix, keyAt, a.count, a.most);
  const int more = takeLargest(cut, keyAt, a.count, [&](int i, int place) {
    a.candidate[at + place] = a.first + i;
    a.candidate_p[at + place] = row[i];
  });
  if (threadIdx.x == 0) a.candidate_counts[b] = before + more;
}

extern "C" __global__ void choose(const choose_arguments a) {
  __shared__ Radix radix;
  const long long b = blockIdx.x;
  const float *p = a.candidate_p + b * a.candidates;
  const int *feature = a.candidate + b * a.candidates;
  auto keyAt = [&](int i) { return keyOf(p[i] + a.bias[feature[i]]); };
  const int n = a.candidate_counts[b];
  const int chosen = takeLargest(cutOf(radix, keyAt, n, a.most), keyAt, n, [&](int i, int place) {
    const int j = feature[i];
    atomicOr(a.mask + b * WORDS + j / 32, 1u << (j % 32));
    a.chosen_p[b * a.most + place] = p[i];
  });
  if (threadIdx.x == 0) a.counts[b] = chosen;
}
`;
