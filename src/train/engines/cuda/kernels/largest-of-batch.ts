/** Select, of forms that want the k · B largest of a batch: a radix select over slices and what is left of those before. */

/** Bits of a digit, of which all values are counted at once. */
const DIGIT_BITS = 11;
const DIGIT_VALUES = 2 ** DIGIT_BITS;
/** Threads of the block that finds a digit: each has two values. */
export const PICK_THREADS = DIGIT_VALUES / 2;
/** Bytes of the counts of a digit's values, and of a BatchCut. */
export const TALLY_BYTES = 4 * DIGIT_VALUES;
export const CUT_BYTES = 28;

/** A digit of one of the three numbers that entries are ordered by. */
interface Digit {
  readonly part: number;
  readonly shift: number;
}

/** All digits, the highest first: of the value, of the feature, of the token. */
export function cutDigits(features: number, tokens: number): readonly Digit[] {
  const bits = [32, bitLength(features - 1), bitLength(tokens - 1)];
  return bits.flatMap((length, part) => {
    const count = Math.ceil(length / DIGIT_BITS);
    return Array.from({ length: count }, (_, i) => ({ part, shift: DIGIT_BITS * (count - 1 - i) }));
  });
}

function bitLength(value: number): number {
  return 32 - Math.clz32(value);
}

/**
 * Where the k · B-th largest lies. `place` is its value's bits, then how many features come after it, then how many
 * tokens do: of equal values the lower feature is the larger, then the lower token. All zero where nothing is above 0.
 */
export const batchCut = /* cuda */ `
struct BatchCut {
  unsigned place[3];
  // What is not above it, of the slice, is not among them.
  unsigned least;
  // Of those that have the digits so far, as many are among them; settled where that is all of them.
  int wanted, settled;
  // Were there fewer than k B?
  int few;
};
static_assert(sizeof(BatchCut) == ${CUT_BYTES}, "the host allocates it");
`;

/**
 * The k · B largest of a batch's h = p + bias above 0. Slice after slice, the cut among the slice and the candidates of
 * those before is found digit by digit: \`tally\` counts, \`pick\` takes the digit in which it lies. \`markLargest\` marks
 * what the slice has above it, which \`gather\` appends to the candidates; from slice to slice the cut only rises. That of
 * the last slice is the batch's: \`keepLargest\` marks the candidates above it in the mask, which is 0 before, and
 * \`placeLargest\` lists them token after token, features ascending. Counts are added atomically, in int, so their order
 * does not matter. NaN counts as the largest, so that it reaches the loss. One block per token, but for \`openCut\` and
 * \`pick\`, which are one block.
 *
 * candidate, candidate_p: a list for each slice, token-major; candidate_start [SLICES × BATCH + 1].
 */
export const largestOfBatch = /* cuda */ `
#define TALLY_LOADS 4

// Calls VISIT with each candidate of a token in the lists [0, lists), all threads together: c is its place, or past the last.
#define FOR_CANDIDATES(lists, VISIT)                                           \\
  for (int list = 0; list < (lists); list++) {                                 \\
    const int last = a.candidate_start[list * BATCH + b + 1];                  \\
    for (int tile = a.candidate_start[list * BATCH + b]; tile < last; tile += blockDim.x) { \\
      const int c = tile + threadIdx.x;                                        \\
      VISIT                                                                    \\
    }                                                                          \\
  }

template <class Arguments> __device__ unsigned candidateKey(const Arguments &a, int c) {
  return keyOf(a.candidate_p[c] + a.bias[a.candidate[c]]);
}

__device__ bool isAbove(const BatchCut &cut, unsigned key, int j, int b) {
  if (key == 0u || key != cut.place[0]) return key > cut.place[0];
  const unsigned feature = N_FEATURES - 1 - j;
  if (feature != cut.place[1]) return feature > cut.place[1];
  return (unsigned)(BATCH - 1 - b) >= cut.place[2];
}

// A value of the digit, or −1 where the digits before are not the cut's.
__device__ int digitOf(const BatchCut &cut, int part, int shift, unsigned key, int j, int b) {
  const unsigned feature = N_FEATURES - 1 - j;
  const unsigned token = BATCH - 1 - b;
  if (part > 0 && key != cut.place[0]) return -1;
  if (part > 1 && feature != cut.place[1]) return -1;
  const unsigned number = part == 0 ? key : part == 1 ? feature : token;
  const unsigned known = part == 0 ? cut.place[0] : part == 1 ? cut.place[1] : cut.place[2];
  const unsigned differs = (number ^ known) >> shift;
  return differs >> ${DIGIT_BITS} == 0u ? (int)((number >> shift) & ${DIGIT_VALUES - 1}u) : -1;
}

extern "C" __global__ void openCut(const openCut_arguments a) {
  if (threadIdx.x != 0) return;
  BatchCut &cut = *a.cut;
  cut.least = a.fresh || cut.few ? 0u : cut.place[0];
  for (int part = 0; part < 3; part++) cut.place[part] = 0u;
  cut.wanted = WANTED;
  cut.settled = 0;
  cut.few = 0;
}

extern "C" __global__ void tally(const tally_arguments a) {
  __shared__ int counts[${DIGIT_VALUES}];
  const BatchCut cut = *a.cut;
  if (cut.settled) return;
  for (int d = threadIdx.x; d < ${DIGIT_VALUES}; d += blockDim.x) counts[d] = 0;
  __syncthreads();
  const int b = blockIdx.x;
  const float *row = a.p_slice + (long long)b * SLICE;
  auto count = [&](unsigned key, int j) {
    const int digit = digitOf(cut, a.part, a.shift, key, j, b);
    if (digit >= 0) atomicAdd(counts + digit, 1);
  };
  for (int tile = 0; tile < a.count; tile += TALLY_LOADS * blockDim.x) {
    unsigned keys[TALLY_LOADS];
#pragma unroll
    for (int c = 0; c < TALLY_LOADS; c++) {
      const int i = tile + c * blockDim.x + threadIdx.x;
      keys[c] = i < a.count ? keyOf(row[i] + a.bias[a.first + i]) : 0u;
    }
#pragma unroll
    for (int c = 0; c < TALLY_LOADS; c++) {
      // Of equals, those of slices before were enough.
      if (keys[c] > cut.least) count(keys[c], a.first + tile + c * blockDim.x + threadIdx.x);
    }
  }
  FOR_CANDIDATES(a.lists,
    const unsigned key = c < last ? candidateKey(a, c) : 0u;
    if (c < last && key >= cut.least) count(key, a.candidate[c]);
  )
  __syncthreads();
  for (int d = threadIdx.x; d < ${DIGIT_VALUES}; d += blockDim.x) {
    if (counts[d] != 0) atomicAdd(a.tallies + d, counts[d]);
  }
}

// Leaves the counts at 0.
extern "C" __global__ void __launch_bounds__(${PICK_THREADS}) pick(const pick_arguments a) {
  BatchCut &cut = *a.cut;
  if (cut.settled) return;
  const int asked = cut.wanted;
  const int digit = ${DIGIT_VALUES} - 1 - 2 * (int)threadIdx.x;
  const int counts[2] = {a.tallies[digit], a.tallies[digit - 1]};
  a.tallies[digit] = 0;
  a.tallies[digit - 1] = 0;
  int all;
  // All threads have read what one of them is about to write.
  int above = blockPrefix(counts[0] + counts[1], &all);
  const int wanted = min(asked, all);
  if (threadIdx.x == 0 && all < asked) cut.few = 1;
  if (threadIdx.x == 0 && all == 0) cut.settled = 1;
#pragma unroll
  for (int c = 0; c < 2; c++) {
    const int left = wanted - above;
    if (left > 0 && counts[c] >= left) {
      cut.place[a.part] |= (unsigned)(digit - c) << a.shift;
      cut.wanted = left;
      // The value is known, and no tie has to be broken.
      if ((a.part > 0 || a.shift == 0) && counts[c] == left) cut.settled = 1;
    }
    above += counts[c];
  }
}

extern "C" __global__ void markLargest(const markLargest_arguments a) {
  const int b = blockIdx.x;
  const float *row = a.p_slice + (long long)b * SLICE;
  const BatchCut cut = *a.cut;
  auto isAt = [&](int i) {
    const unsigned key = keyOf(row[i] + a.bias[a.first + i]);
    return key > cut.least && isAbove(cut, key, a.first + i, b);
  };
  const int total = markWords(a.mask + (long long)b * WORDS + a.first / 32, a.count, true, isAt);
  if (threadIdx.x == 0) a.counts[b] = total;
}

extern "C" __global__ void keepLargest(const keepLargest_arguments a) {
  const int b = blockIdx.x;
  const BatchCut cut = *a.cut;
  int kept = 0;
  FOR_CANDIDATES(SLICES,
    const int j = c < last ? a.candidate[c] : 0;
    if (c < last && isAbove(cut, candidateKey(a, c), j, b)) {
      atomicOr(a.mask + (long long)b * WORDS + j / 32, 1u << (j % 32));
      kept++;
    }
  )
  int total;
  blockPrefix(kept, &total);
  if (threadIdx.x == 0) a.counts[b] = total;
}

extern "C" __global__ void placeLargest(const placeLargest_arguments a) {
  const int b = blockIdx.x;
  const BatchCut cut = *a.cut;
  int at = a.token_start[b];
  FOR_CANDIDATES(SLICES,
    const int j = c < last ? a.candidate[c] : 0;
    const bool is = c < last && isAbove(cut, candidateKey(a, c), j, b);
    int all;
    const int k = at + blockPrefix(is ? 1 : 0, &all);
    at += all;
    if (is) {
      const long long word = (long long)b * WORDS + j / 32;
      a.feature[k] = j;
      a.p[k] = a.candidate_p[c];
      // Where the word's entries begin.
      if ((a.mask[word] & ((1u << (j % 32)) - 1u)) == 0u) a.word_start[word] = k;
    }
  )
}
`;
