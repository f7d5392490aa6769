/** Sparse decode: what becomes of an entry, the reconstructions from the rows of W_dec, and what they leave of y. */

/**
 * ŷ of a token from the rows of W_dec of its entries, list after list (they have one per slice where a slice alone decides
 * its entries), and a second one of g where the form has it; r = 2 (ŷ − y) / B and r_aux alike. With prefixes (levels.ts),
 * each has its ŷ, and r the sums of their residuals. token_sums [4, BATCH]: |y − ŷ|²; what is auxiliary (|y − ŷ|² of the
 * second, what prefixes add to the loss, to which `decodeDead` adds, or ReLU(θ − h) of dead features with its weight);
 * what is penalised; features with f > 0. One block per token; a thread keeps the same elements of the row throughout.
 */
export const decode = /* cuda */ `
__device__ float relu(float x) {
  return x <= 0.0f ? 0.0f : x;
}

// As many entries as a block takes at a time.
struct Staged { int row[ROW_THREADS]; float f[ROW_THREADS], g[ROW_THREADS]; };
// This thread's elements of the reconstructions; of entries that it staged, what is penalised, features with f > 0, and
// ReLU(θ − h) of those that were dead.
struct Decoded { float sum[OUT_PER_THREAD], sum_aux[OUT_PER_THREAD], penalty, fired, below; };

__device__ float penalisedOf(float f, float g) {
  return PENALTY_ON_F ? f : PENALTY_ON_G ? g : PENALTY_TANH ? tanhf(TANH_SCALE * f) : 0.0f;
}

// Entries [first, last) of a token; all threads must come.
template <class Arguments>
__device__ void addDecoded(const Arguments &a, Staged &staged, Decoded &to, int first, int last) {
  for (int k = first; k < last; k += ROW_THREADS) {
    const int here = min(ROW_THREADS, last - k);
    if ((int)threadIdx.x < here) {
      const int j = a.feature[k + threadIdx.x];
      const float p = a.p[k + threadIdx.x];
      const Scalars scalars = scalarsAt(a, j);
      const float f = relu(magnitudeOf(scalars, p));
      const float g = relu(p + scalars.bias);
      staged.row[threadIdx.x] = j;
      staged.f[threadIdx.x] = f;
      staged.g[threadIdx.x] = g;
      to.penalty += penalisedOf(f, g);
      to.fired += f > 0.0f ? 1.0f : 0.0f;
#if PRE_ACT_LOSS
      to.below += scalars.revival > 0.0f ? relu(-aboveThreshold(scalars, p)) : 0.0f;
#endif
    }
    __syncthreads();
    for (int e = 0; e < here; e++) {
      if (JUMPS && staged.f[e] == 0.0f) continue;
      const float *row = a.W_dec + (long long)staged.row[e] * D_OUT_ROW;
      FOR_OUT {
        const float w = row[i];
        to.sum[c] += staged.f[e] * w;
#if SECOND
        to.sum_aux[c] += staged.g[e] * w;
#endif
      }
    }
    __syncthreads();
  }
}

// What ŷ of a level's prefix leaves of y, weighted, into its rows of r; this thread's part of |y − ŷ|².
__device__ float leave(const decode_arguments &a, const Decoded &found, int level, float weight) {
  const long long b = blockIdx.x;
  float squares = 0.0f;
  FOR_OUT {
    // ŷ − y = f W_dec + b_dec − y, and b_dec has been taken from y before.
    const float error = found.sum[c] - a.yc[b * D_OUT_ROW + i];
    squares += error * error;
    a.r[residualRow(level, b) * D_OUT_ROW + i] = error * (weight * TWO_OVER_BATCH);
  }
  return squares;
}

extern "C" __global__ void __launch_bounds__(ROW_THREADS) decode(const decode_arguments a) {
  if (*a.left) return;
  __shared__ Staged staged;
  const long long b = blockIdx.x;
  Decoded found = {};
  float others = 0.0f;
#if DENSE
  if (a.dense) {
    FOR_OUT found.sum[c] = a.dense_r[b * D_OUT_ROW + i];
#if SECOND
    FOR_OUT found.sum_aux[c] = a.dense_r_aux[b * D_OUT_ROW + i];
#endif
    if (threadIdx.x == 0) {
      found.penalty = a.dense_sums[b];
      found.fired = a.dense_sums[BATCH + b];
#if PRE_ACT_LOSS
      found.below = a.dense_sums[2 * BATCH + b];
#endif
    }
  }
#endif
  for (int list = 0; list < LISTS; list++) {
    int first = a.token_start[list * BATCH + b];
    const int last = a.token_start[list * BATCH + b + 1];
    // There is one list where there are prefixes.
    for (int level = 0; level < LEVELS - 1; level++) {
      const int end = firstFrom(a.feature, first, last, LEVEL_ENDS[level]);
      addDecoded(a, staged, found, first, end);
      others += LEVEL_WEIGHTS[level] * leave(a, found, level, LEVEL_WEIGHTS[level]);
      first = end;
    }
    addDecoded(a, staged, found, first, last);
  }
  float squares = leave(a, found, LEVELS - 1, LAST_WEIGHT);
  if (LAST_WEIGHT != 1.0f) others += (LAST_WEIGHT - 1.0f) * squares;
#if SECOND
  FOR_OUT {
    const float error = found.sum_aux[c] - a.yc[b * D_OUT_ROW + i];
    others += error * error;
    a.r_aux[b * D_OUT_ROW + i] = error * TWO_OVER_BATCH;
  }
#endif
#if LEVELS > 1
  FOR_OUT {
    float sum = a.r[residualRow(LEVELS - 1, b) * D_OUT_ROW + i];
    for (int level = LEVELS - 2; level >= 0; level--) {
      sum += a.r[residualRow(level, b) * D_OUT_ROW + i];
      a.r[residualRow(level, b) * D_OUT_ROW + i] = sum;
    }
  }
#endif
  squares = blockSum(squares);
  others = blockSum(others);
  float penalty = blockSum(found.penalty);
  const float fired = blockSum(found.fired);
#if PRE_ACT_LOSS
  others += PRE_ACT * blockSum(found.below);
#endif
#if PENALTY_STEP
  penalty = fired;
#elif PENALTY_QUADRATIC
  penalty = (2.0f / TARGET_L0) * (fired - TARGET_L0) * (fired - TARGET_L0);
#endif
  if (threadIdx.x != 0) return;
  a.token_sums[b] = squares;
  a.token_sums[BATCH + b] = others;
  a.token_sums[2 * BATCH + b] = penalty;
  a.token_sums[3 * BATCH + b] = fired;
}
`;

/**
 * df = W_dec[j]·r_b, r that of the feature's level, and dg = W_dec[j]·r_aux,b of every entry; 0 if the latter trains
 * nothing. One block per row of the mask, a token's, and after all of them those of AuxK's entries, which are the last
 * list; one warp per entry.
 */
export const dots = /* cuda */ `
extern "C" __global__ void dots(const dots_arguments a) {
  if (*a.left) return;
  const long long b = blockIdx.x;
  const int lane = threadIdx.x % 32;
  const int warps = blockDim.x / 32;
  for (int list = b < BATCH ? 0 : LISTS - 1; list < LISTS; list++) {
    const int last = a.token_start[list * BATCH + b + 1];
    for (int k = a.token_start[list * BATCH + b] + (int)threadIdx.x / 32; k < last; k += warps) {
      const int j = a.feature[k];
#if PRE_ACT_LOSS
      if (!isOpenOrNear(aboveThreshold(scalarsAt(a, j), a.p[k]))) {
        if (lane == 0) a.df[k] = a.dg[k] = 0.0f;
        continue;
      }
#endif
      const float *row = a.W_dec + (long long)j * D_OUT_ROW;
      const float *r = a.r + residualRow(levelOf(j), b) * D_OUT_ROW;
      float dot = 0.0f;
      float dot_aux = 0.0f;
#pragma unroll 8
      for (int i = lane; i < D_OUT_ROW; i += 32) {
        const float w = row[i];
        dot += w * r[i];
#if SECOND_DOTS
        dot_aux += w * a.r_aux[b * D_OUT_ROW + i];
#endif
      }
      dot = warpSum(dot);
      dot_aux = warpSum(dot_aux);
      if (lane == 0) {
        a.df[k] = dot;
        a.dg[k] = dot_aux;
      }
    }
  }
}
`;
