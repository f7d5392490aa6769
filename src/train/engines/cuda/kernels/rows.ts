/** Sparse gradient and Adam on rows: what a feature has of W_enc and W_dec, in one visit. */

/** Elements of a row that a thread holds at most, with their moments, while others are on their way. */
const MOST_HELD = 8;

/** How many: one where rows are so wide that more would not fit the registers. */
export function heldOf(perThread: number): number {
  return perThread <= MOST_HELD ? perThread : 1;
}

/**
 * Gradients of W_enc[:, j] and W_dec[j], tangent projection, Adam and norm, feature after feature in one visit: the
 * gradients live in registers. A block takes every gridDim.x-th feature, and sums its part of W_enc Σ_b ∂p, with W_enc
 * as it was, into its row of pull_parts. What is not trained keeps its bits. Features are [first, first + count), and
 * pull_parts has the sums of those before unless they are the first. Where many tokens have a feature, other blocks sum
 * up parts of its entries first (`sumParts`), and the sums of parts are added in their order. The gradients of a slice
 * that is not listed have been computed by products (enc_gradient, dec_gradient [SLICE, row]).
 *
 * Loads wait for stores that may be to the same place, as far as the compiler knows. So what is read of a row is asked
 * for at once (`Held`, all of a row unless it is very wide), and nothing is stored before all of that has been moved.
 */
export const rows = /* cuda */ `
// Of a row's elements, those from c = from on that are held together: h counts them.
#define FOR_HELD(width, per_thread) \\
  _Pragma("unroll") for (int h = 0; h < HELD; h++) \\
    for (int c = from + h, i = threadIdx.x + c * ROW_THREADS, once = 1; \\
         once && c < per_thread && i < width; once = 0)
#define FOR_HELD_IN FOR_HELD(D_IN_ROW, IN_PER_THREAD)
#define FOR_HELD_OUT FOR_HELD(D_OUT_ROW, OUT_PER_THREAD)

struct Held { float w[HELD], v[HELD], m[HELD]; };

__device__ void holdEncoder(const updateRows_arguments &a, Held &held, long long row, int from) {
#if TRAINS_W_ENC || PULLS
  FOR_HELD_IN held.w[h] = a.W_enc[row + i];
#endif
#if TRAINS_W_ENC
  FOR_HELD_IN held.v[h] = a.v_W_enc[row + i];
#if MOMENTUM
  FOR_HELD_IN held.m[h] = a.m_W_enc[row + i];
#endif
#endif
}

__device__ void holdDecoderMoments(const updateRows_arguments &a, Held &held, long long row, int from) {
#if TRAINS_W_DEC
  FOR_HELD_OUT held.v[h] = a.v_W_dec[row + i];
#if MOMENTUM
  FOR_HELD_OUT held.m[h] = a.m_W_dec[row + i];
#endif
#endif
}

__device__ void keepEncoder(const updateRows_arguments &a, const Held &held, long long row, int from) {
  FOR_HELD_IN {
    a.W_enc[row + i] = held.w[h];
    a.v_W_enc[row + i] = held.v[h];
#if MOMENTUM
    a.m_W_enc[row + i] = held.m[h];
#endif
#if BFLOAT16
    a.W_enc_bfloat16[row + i] = toBfloat16(held.w[h]);
#endif
  }
}

// Of W_enc[:, j] and W_dec[j], summed over entries or over rows of such sums.
struct Sums { float enc[IN_PER_THREAD], dec[OUT_PER_THREAD]; };

// Those of feature j are at [first, last).
template <class Arguments> __device__ void addEntries(const Arguments &a, Sums &sum, int j, int first, int last) {
  const int level = levelOf(j);
#pragma unroll 2
  for (int q = first; q < last; q++) {
    const long long row = a.token[q];
    const long long b = AUX_K && row >= BATCH ? row - BATCH : row;
    const int k = a.entry[q];
#if TRAINS_W_ENC
    const float dp = a.dp[k];
    FOR_IN sum.enc[c] += dp * a.xc[b * D_IN_ROW + i];
#endif
#if TRAINS_W_DEC
    const float f = a.f[k];
    if (!JUMPS || f != 0.0f) FOR_OUT sum.dec[c] += f * a.r[residualRow(level, row) * D_OUT_ROW + i];
#if SECOND_TRAINS_DECODER
    const float g = a.g[k];
    FOR_OUT sum.dec[c] += g * a.r_aux[b * D_OUT_ROW + i];
#endif
#endif
  }
}

__device__ void addRows(Sums &sum, const float *enc, const float *dec, long long row) {
#if TRAINS_W_ENC
  FOR_IN sum.enc[c] += enc[row * D_IN_ROW + i];
#endif
#if TRAINS_W_DEC
  FOR_OUT sum.dec[c] += dec[row * D_OUT_ROW + i];
#endif
}

// Entries of a feature that one block sums up: as many as leave no more than PARTS parts, of all features.
__device__ int partLength(long long entries) {
  return max(PART_ENTRIES, (int)((2 * entries + PARTS - 1) / PARTS));
}

extern "C" __global__ void countParts(const countParts_arguments a) {
  const int j = blockIdx.x * blockDim.x + threadIdx.x;
  if (*a.left || j >= N_FEATURES) return;
  const int length = partLength(*a.total);
  const int count = a.feature_start[j + 1] - a.feature_start[j];
  a.part_counts[j] = count > length ? (count + length - 1) / length : 0;
}

extern "C" __global__ void __launch_bounds__(ROW_THREADS) sumParts(const sumParts_arguments a) {
  const int part = blockIdx.x;
  if (*a.left || part >= a.part_start[N_FEATURES]) return;
  // The last feature whose parts begin here or before.
  int j = 0;
  for (int after = N_FEATURES; after - j > 1;) {
    const int middle = (j + after) / 2;
    if (a.part_start[middle] <= part) j = middle;
    else after = middle;
  }
  const int length = partLength(*a.total);
  const int first = a.feature_start[j] + (part - a.part_start[j]) * length;
  Sums sum = {};
  addEntries(a, sum, j, first, min(first + length, a.feature_start[j + 1]));
#if TRAINS_W_ENC
  FOR_IN a.part_enc[(long long)part * D_IN_ROW + i] = sum.enc[c];
#endif
#if TRAINS_W_DEC
  FOR_OUT a.part_dec[(long long)part * D_OUT_ROW + i] = sum.dec[c];
#endif
}

extern "C" __global__ void __launch_bounds__(ROW_THREADS) updateRows(const updateRows_arguments a) {
  if (*a.left) return;
  float pull[IN_PER_THREAD] = {0.0f};
#if PULLS
  if (!a.fresh) FOR_IN pull[c] = a.pull_parts[(long long)blockIdx.x * D_IN_ROW + i];
#endif
  for (int j = a.first + blockIdx.x; j < a.first + a.count; j += gridDim.x) {
    const int first = a.feature_start[j];
    const int last = a.feature_start[j + 1];
    if (!MOMENTUM && (a.dense ? a.feature_counts[j] == 0 : first == last)) continue;
    const int missed = a.step - 1 - a.updated[j];
    const long long in_row = (long long)j * D_IN_ROW;
    const long long out_row = (long long)j * D_OUT_ROW;
    Held encoder;
    if (HELD >= IN_PER_THREAD) holdEncoder(a, encoder, in_row, 0);
    Sums gradient = {};
    const int part = a.part_start[j];
    const int end = a.part_start[j + 1];
    if (a.dense) addRows(gradient, a.enc_gradient, a.dec_gradient, j - a.first);
    else if (part == end) addEntries(a, gradient, j, first, last);
#pragma unroll 1
    for (int k = part; k < end; k++) addRows(gradient, a.part_enc, a.part_dec, k);
#if TRAINS_W_ENC || PULLS
    const float weight = a.dp_sum[j];
#pragma unroll
    for (int from = 0; from < IN_PER_THREAD; from += HELD) {
      if (HELD < IN_PER_THREAD) holdEncoder(a, encoder, in_row, from);
      FOR_HELD_IN {
        pull[c] += weight * encoder.w[h];
#if TRAINS_W_ENC
        encoder.w[h] -= adamChange(a, gradient.enc[c], encoder.m[h], encoder.v[h], missed);
#endif
      }
#if TRAINS_W_ENC
      keepEncoder(a, encoder, in_row, from);
#endif
    }
#endif
#if TRAINS_W_DEC
    float w[OUT_PER_THREAD];
    Held decoder;
    FOR_OUT w[c] = a.W_dec[out_row + i];
    if (HELD >= OUT_PER_THREAD) holdDecoderMoments(a, decoder, out_row, 0);
    float along = 0.0f;
    FOR_OUT along += gradient.dec[c] * w[c];
    along = blockSum(along);
    float squares = 0.0f;
#pragma unroll
    for (int from = 0; from < OUT_PER_THREAD; from += HELD) {
      if (HELD < OUT_PER_THREAD) holdDecoderMoments(a, decoder, out_row, from);
      FOR_HELD_OUT {
        const float tangent = gradient.dec[c] - along * w[c];
        w[c] -= adamChange(a, tangent, decoder.m[h], decoder.v[h], missed);
        squares += w[c] * w[c];
      }
      FOR_HELD_OUT {
        a.v_W_dec[out_row + i] = decoder.v[h];
#if MOMENTUM
        a.m_W_dec[out_row + i] = decoder.m[h];
#endif
      }
    }
    const float inverse = 1.0f / sqrtf(blockSum(squares));
    FOR_OUT a.W_dec[out_row + i] = w[c] * inverse;
#else
    // All threads have read what the first one is about to write.
    __syncthreads();
#endif
    if (threadIdx.x == 0) a.updated[j] = a.step;
  }
#if PULLS
  FOR_IN a.pull_parts[(long long)blockIdx.x * D_IN_ROW + i] = pull[c];
#endif
}
`;
