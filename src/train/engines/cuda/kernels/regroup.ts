/** The entries feature-major: a counting sort of the mask. */

/**
 * The same entries feature-major, rows of the mask ascending: a counting sort. A warp takes a word, 32 features, and CHUNK
 * rows; where its features' entries begin comes from the counts before it, so no order is left to chance. Rows are
 * tokens, and after all of them, with AuxK, those of its entries.
 *
 * chunk_counts [chunks, N_FEATURES]: entries of each feature within a chunk, then of the chunks before.
 */
export const regroup = /* cuda */ `
// Calls VISIT for each row of the chunk whose word is not empty, all lanes together: token and word are set.
#define FOR_WORDS(VISIT)                                                             \\
  for (int from = blockIdx.y * CHUNK; from < min(a.rows, ((int)blockIdx.y + 1) * CHUNK); from += 32) { \\
    const int mine = from + lane;                                                    \\
    const unsigned loaded = mine < a.rows ? a.mask[(long long)mine * WORDS + w] : 0u; \\
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
  if (*a.left) return;
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
