/**
 * From the residual dots of a feature's entries to its gradients, a warp a feature: dm = df · 1[m > 0], dπ = λ / B + dg,
 * dp = dπ + exp(r_mag) dm (an ablation moves λ / B to dm). df becomes f, dg becomes dp and, where the auxiliary loss
 * trains W_dec, p becomes g. Biases and r_mag are moved, Σ_b dp is kept, and activations since the feature fired are
 * counted.
 */
export const features = /* cuda */ `
extern "C" __global__ void features(
    const int *feature_start, const int *entry, float *p, float *df, float *dg, float *bias, float *m_bias,
    float *v_bias, float *b_mag, float *m_b_mag, float *v_b_mag, float *r_mag, float *m_r_mag, float *v_r_mag,
    const int *updated, int step, float *dp_sum, float *since_fired, int *dead, const long long *total, long long room,
    STEP_NUMBERS) {
  if (*total > room) return;
  const int lane = threadIdx.x % 32;
  const int j = (blockIdx.x * blockDim.x + threadIdx.x) / 32;
  if (j >= N_FEATURES) return;
  const int first = feature_start[j];
  const int last = feature_start[j + 1];
  float sum_p = 0.0f;
  float sum_pi = 0.0f;
  float sum_m = 0.0f;
  float sum_r = 0.0f;
  bool fired = false;
#if GATED
  const float e = expf(r_mag[j]);
#endif
  for (int q = first + lane; q < last; q += 32) {
    const int k = entry[q];
    const float p_entry = p[k];
    const float magnitude = MAGNITUDE(p_entry, j);
    fired = fired || magnitude > 0.0f;
#if GATED
    const float d_pi = (L1_ON_F ? 0.0f : l1) + dg[k];
    const float d_m = magnitude > 0.0f ? (L1_ON_F ? l1 : 0.0f) + df[k] : 0.0f;
    const float d_p = d_pi + e * d_m;
    sum_m += d_m;
    sum_r += d_m * (e * p_entry);
#else
    const float d_pi = magnitude > 0.0f ? l1 + df[k] : 0.0f;
    const float d_p = d_pi;
#endif
    sum_p += d_p;
    sum_pi += d_pi;
    df[k] = relu(magnitude);
    dg[k] = d_p;
#if UNFROZEN
    p[k] = relu(p_entry + bias[j]);
#endif
  }
  sum_p = warpSum(sum_p);
  sum_pi = warpSum(sum_pi);
#if GATED
  sum_m = warpSum(sum_m);
  sum_r = warpSum(sum_r);
#endif
  fired = __ballot_sync(EVERY_LANE, fired) != 0u;
  if (lane != 0) return;
  const float since = fired ? 0.0f : since_fired[j] + (float)BATCH;
  since_fired[j] = since;
  if (since >= DEAD_WINDOW) atomicAdd(dead, 1);
  dp_sum[j] = sum_p;
  if (!MOMENTUM && first == last) return;
  const int missed = step - 1 - updated[j];
#define MOVE(parameter, gradient) \\
  parameter[j] -= adamChange(gradient, m_##parameter + j, v_##parameter + j, missed, lr, correction1, correction2)
#if TRAINS_BIAS
  MOVE(bias, sum_pi);
#endif
#if TRAINS_B_MAG
  MOVE(b_mag, sum_m);
#endif
#if TRAINS_R_MAG
  MOVE(r_mag, sum_r);
#endif
}
`;
