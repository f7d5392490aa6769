/**
 * Gradients of W_enc[:, j] and W_dec[j], tangent projection, Adam and norm, feature after feature in one visit: the
 * gradients live in registers. A block takes every gridDim.x-th feature, and sums its part of W_enc Σ_b dp, with W_enc
 * as it was, into its row of pull_parts. What is not trained keeps its bits.
 */
export const rows = /* cuda */ `
#define FOR_ELEMENTS \\
  _Pragma("unroll") for (int c = 0; c < PER_THREAD; c++) \\
    for (int i = threadIdx.x + c * ROW_THREADS, once = 1; once && i < D_ROW; once = 0)

extern "C" __global__ void __launch_bounds__(ROW_THREADS) updateRows(
    const int *feature_start, const int *token, const int *entry, const float *f, const float *dp, const float *g,
    const float *xc, const float *r, const float *r_aux, const float *dp_sum, float *w_enc, float *m_enc, float *v_enc,
    unsigned short *w_enc_rounded, float *w_dec, float *m_dec, float *v_dec, int *updated, int step, float *pull_parts,
    const long long *total, long long room, STEP_NUMBERS) {
  if (*total > room) return;
  float pull[PER_THREAD] = {0.0f};
  for (int j = blockIdx.x; j < N_FEATURES; j += gridDim.x) {
    const int first = feature_start[j];
    const int last = feature_start[j + 1];
    if (!MOMENTUM && first == last) continue;
    const int missed = step - 1 - updated[j];
    const long long row = (long long)j * D_ROW;
    float g_enc[PER_THREAD] = {0.0f};
    float g_dec[PER_THREAD] = {0.0f};
#pragma unroll 2
    for (int q = first; q < last; q++) {
      const long long b = (long long)token[q] * D_ROW;
      const int k = entry[q];
#if TRAINS_W_ENC
      const float d_p = dp[k];
      FOR_ELEMENTS g_enc[c] += d_p * xc[b + i];
#endif
#if TRAINS_W_DEC
      const float f_entry = f[k];
      FOR_ELEMENTS g_dec[c] += f_entry * r[b + i];
#if UNFROZEN
      const float g_entry = g[k];
      FOR_ELEMENTS g_dec[c] += g_entry * r_aux[b + i];
#endif
#endif
    }
#if TRAINS_W_ENC || TRAINS_B_DEC
    const float weight = dp_sum[j];
    FOR_ELEMENTS {
      const float w = w_enc[row + i];
      pull[c] += weight * w;
#if TRAINS_W_ENC
      const float moved =
          w - adamChange(g_enc[c], m_enc + row + i, v_enc + row + i, missed, lr, correction1, correction2);
      w_enc[row + i] = moved;
#if BFLOAT16
      w_enc_rounded[row + i] = toBfloat16(moved);
#endif
#endif
    }
#endif
#if TRAINS_W_DEC
    float w[PER_THREAD];
    float along = 0.0f;
    FOR_ELEMENTS {
      w[c] = w_dec[row + i];
      along += g_dec[c] * w[c];
    }
    along = blockSum(along);
    float squares = 0.0f;
    FOR_ELEMENTS {
      const float tangent = g_dec[c] - along * w[c];
      w[c] -= adamChange(tangent, m_dec + row + i, v_dec + row + i, missed, lr, correction1, correction2);
      squares += w[c] * w[c];
    }
    const float inverse = 1.0f / sqrtf(blockSum(squares));
    FOR_ELEMENTS w_dec[row + i] = w[c] * inverse;
#else
    // All threads have read what the first one is about to write.
    __syncthreads();
#endif
    if (threadIdx.x == 0) updated[j] = step;
  }
#if TRAINS_B_DEC
  FOR_ELEMENTS pull_parts[(long long)blockIdx.x * D_ROW + i] = pull[c];
#endif
}
`;
