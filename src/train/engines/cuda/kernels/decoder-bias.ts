/** Adam on b_dec: ∂b_dec = Σ_b r_b − W_enc Σ_b dp_b, and Σ_b r_aux,b where the auxiliary loss trains it. */
export const decoderBias = /* cuda */ `
extern "C" __global__ void updateDecoderBias(
    float *b_dec, float *m, float *v, const float *r_sum, const float *r_aux_sum, const float *pull,
    const long long *total, long long room, STEP_NUMBERS) {
  if (*total > room) return;
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= D_IN) return;
  float gradient = r_sum[i] - pull[i];
#if UNFROZEN
  gradient += r_aux_sum[i];
#endif
  b_dec[i] -= adamChange(gradient, m + i, v + i, 0, lr, correction1, correction2);
}
`;
