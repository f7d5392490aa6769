/** Brings second moments that lazy steps left behind up to a step. A block a feature. */
export const settle = /* cuda */ `
extern "C" __global__ void settle(
    float *v_enc, float *v_dec, float *v_bias, float *v_b_mag, float *v_r_mag, int *updated, int step) {
  const int j = blockIdx.x;
  const int missed = step - updated[j];
  const long long row = (long long)j * D_ROW;
  for (int i = threadIdx.x; i < D_ROW; i += blockDim.x) {
#if TRAINS_W_ENC
    v_enc[row + i] = decayed(v_enc[row + i], missed);
#endif
#if TRAINS_W_DEC
    v_dec[row + i] = decayed(v_dec[row + i], missed);
#endif
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
#if TRAINS_BIAS
  v_bias[j] = decayed(v_bias[j], missed);
#endif
#if TRAINS_B_MAG
  v_b_mag[j] = decayed(v_b_mag[j], missed);
#endif
#if TRAINS_R_MAG
  v_r_mag[j] = decayed(v_r_mag[j], missed);
#endif
  updated[j] = step;
}
`;
