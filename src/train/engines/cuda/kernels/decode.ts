/**
 * x̂ and x̂_aux of a token from the rows of W_dec of its entries, slice after slice, and what follows from them:
 * r = 2 (x̂ − x) / B and r_aux alike. token_sums [4, BATCH]: |x − x̂|², |x − x̂_aux|², what is penalised, features
 * with f > 0. A block a token; a thread keeps the same elements of the row throughout.
 */
export const decode = /* cuda */ `
extern "C" __global__ void __launch_bounds__(ROW_THREADS) decode(
    const float *xc, const float *w_dec, const float *bias, const float *b_mag, const float *r_mag,
    const int *token_start, const int *feature, const float *p, float *r, float *r_aux, float *token_sums,
    const long long *total, long long room) {
  if (*total > room) return;
  __shared__ int rows[ROW_THREADS];
  __shared__ float f[ROW_THREADS];
  __shared__ float g[ROW_THREADS];
  const long long b = blockIdx.x;
  float sum[PER_THREAD] = {0.0f};
  float sum_aux[PER_THREAD] = {0.0f};
  float penalty = 0.0f;
  float fired = 0.0f;
  for (int slice = 0; slice < SLICES; slice++) {
    const int last = token_start[slice * BATCH + b + 1];
    for (int k = token_start[slice * BATCH + b]; k < last; k += ROW_THREADS) {
      const int here = min(ROW_THREADS, last - k);
      if ((int)threadIdx.x < here) {
        const int j = feature[k + threadIdx.x];
        const float p_entry = p[k + threadIdx.x];
        rows[threadIdx.x] = j;
        const float f_entry = relu(MAGNITUDE(p_entry, j));
        const float g_entry = relu(p_entry + bias[j]);
        f[threadIdx.x] = f_entry;
        g[threadIdx.x] = g_entry;
        penalty += L1_ON_F ? f_entry : g_entry;
        fired += f_entry > 0.0f ? 1.0f : 0.0f;
      }
      __syncthreads();
      for (int e = 0; e < here; e++) {
        const float *row = w_dec + (long long)rows[e] * D_ROW;
#pragma unroll
        for (int c = 0; c < PER_THREAD; c++) {
          const int i = threadIdx.x + c * ROW_THREADS;
          const float w = i < D_ROW ? row[i] : 0.0f;
          sum[c] += f[e] * w;
#if AUXILIARY
          sum_aux[c] += g[e] * w;
#endif
        }
      }
      __syncthreads();
    }
  }
  float squares = 0.0f;
  float squares_aux = 0.0f;
#pragma unroll
  for (int c = 0; c < PER_THREAD; c++) {
    const int i = threadIdx.x + c * ROW_THREADS;
    if (i >= D_ROW) continue;
    // x̂ − x = f W_dec + b_dec − x, and b_dec has been taken from x before.
    const float x = xc[b * D_ROW + i];
    const float error = sum[c] - x;
    squares += error * error;
    r[b * D_ROW + i] = error * TWO_OVER_BATCH;
#if AUXILIARY
    const float error_aux = sum_aux[c] - x;
    squares_aux += error_aux * error_aux;
    r_aux[b * D_ROW + i] = error_aux * TWO_OVER_BATCH;
#endif
  }
  squares = blockSum(squares);
  squares_aux = blockSum(squares_aux);
  penalty = blockSum(penalty);
  fired = blockSum(fired);
  if (threadIdx.x != 0) return;
  token_sums[b] = squares;
  token_sums[BATCH + b] = squares_aux;
  token_sums[2 * BATCH + b] = penalty;
  token_sums[3 * BATCH + b] = fired;
}
`;
