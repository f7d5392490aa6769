/** Adam; and the gradients of numbers: those of a feature, and b_dec's. */

/**
 * Adam (Kingma and Ba 2015, algorithm 1) on one number. With β1 = 0 a feature without entries is left alone, and its
 * second moment catches up when it is next touched: multiplied by β2 once for every step missed, not by a power of it,
 * so that the bits do not depend on when anybody looked.
 */
export const adam = /* cuda */ `
__device__ float decayed(float v, int missed) {
  for (int k = 0; k < missed && v != 0.0f; k++) v *= BETA2;
  return v;
}

// What is to be taken from the parameter; m and v move on. \`a\` has the step's lr, 1 / (1 − β1^t) and 1 / (1 − β2^t).
template <class Arguments>
__device__ float adamChange(const Arguments &a, float gradient, float &m, float &v, int missed) {
  v = decayed(v, missed) * BETA2 + gradient * gradient * FRESH2;
  float numerator = gradient;
#if MOMENTUM
  m = m * BETA1 + gradient * FRESH1;
  numerator = m * a.correction1;
#endif
  return a.lr * (numerator / (sqrtf(v * a.correction2) + EPSILON));
}
`;

/**
 * From the dots of a feature's entries with the residuals to its gradients, one warp per feature. df becomes f, dg
 * becomes ∂p and, where the second reconstruction trains W_dec, p becomes g. Σ_b ∂p is kept.
 */
export const features = /* cuda */ `
#define ADD(name) sum.name += gradient.name;

// A feature's scalars are moved, and activations since it fired are counted.
template <class Arguments>
__device__ void moveScalars(const Arguments &a, int j, Gradient sum, bool has_entries, bool fired) {
  const float since = fired ? 0.0f : a.since_fired[j] + (float)BATCH;
  a.since_fired[j] = since;
  if (since >= DEAD_WINDOW) atomicAdd(a.dead, 1);
  a.dp_sum[j] = sum.p;
  if (!MOMENTUM && !has_entries) return;
  const int missed = a.step - 1 - a.updated[j];
#define MOVE(name) a.name[j] -= adamChange(a, sum.name, a.m_##name[j], a.v_##name[j], missed);
  EACH_TRAINED_SCALAR(MOVE)
#define KEEP(name) a.name[j] = relu(a.name[j]);
  EACH_NON_NEGATIVE(KEEP)
}

extern "C" __global__ void features(const features_arguments a) {
  if (*a.left) return;
  const int lane = threadIdx.x % 32;
  const int j = a.first + (int)(blockIdx.x * blockDim.x + threadIdx.x) / 32;
  if (j >= a.first + a.count) return;
  const int first = a.feature_start[j];
  const int last = a.feature_start[j + 1];
  const Scalars scalars = scalarsAt(a, j);
  // Entries of AuxK come after those of the lists.
  const int dead_from = a.token_start[LISTS * BATCH];
  Gradient sum = {};
  bool fired = false;
  for (int q = first + lane; q < last; q += 32) {
    const int k = a.entry[q];
    const float p = a.p[k];
    const float magnitude = magnitudeOf(scalars, p);
    fired = fired || (magnitude > 0.0f && (!AUX_K || k < dead_from));
    const float of_f = (PENALTY_ON_F ? a.l1 : 0.0f) + a.df[k];
    const float of_g = penaltyOfSecond(a, a.token[q]) + a.dg[k];
    const Gradient gradient = gradientOf(scalars, p, magnitude, of_f, of_g);
    ADD(p)
    EACH_SCALAR(ADD)
    a.f[k] = relu(magnitude);
    a.dp[k] = gradient.p;
#if SECOND_TRAINS_DECODER
    a.g[k] = relu(p + scalars.bias);
#endif
  }
#define OVER_WARP(name) sum.name = warpSum(sum.name);
  OVER_WARP(p)
  EACH_SCALAR(OVER_WARP)
  fired = __ballot_sync(EVERY_LANE, fired) != 0u;
  if (lane == 0) moveScalars(a, j, sum, first < last, fired);
}
`;

/**
 * Adam on b_dec: ∂b_dec = Σ_b r_b, less W_enc Σ_b ∂p_b where it is taken from the input, and Σ_b r_aux,b where the second
 * reconstruction trains the bias of its decode.
 */
export const decoderBias = /* cuda */ `
extern "C" __global__ void updateDecoderBias(const updateDecoderBias_arguments a) {
  if (*a.left) return;
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= D_OUT) return;
  float gradient = a.r_sum[i];
#if PULLS
  gradient -= a.pull[i];
#endif
#if SECOND_TRAINS_DECODER
  gradient += a.r_aux_sum[i];
#endif
  a.b_dec[i] -= adamChange(a, gradient, a.m_b_dec[i], a.v_b_dec[i], 0);
}
`;

/** Brings second moments that lazy steps left behind up to a step. One block per feature. */
export const settle = /* cuda */ `
extern "C" __global__ void settle(const settle_arguments a) {
  const int j = blockIdx.x;
  const int missed = a.step - a.updated[j];
#if TRAINS_W_ENC
  float *enc = a.v_W_enc + (long long)j * D_IN_ROW;
  for (int i = threadIdx.x; i < D_IN_ROW; i += blockDim.x) enc[i] = decayed(enc[i], missed);
#endif
#if TRAINS_W_DEC
  float *dec = a.v_W_dec + (long long)j * D_OUT_ROW;
  for (int i = threadIdx.x; i < D_OUT_ROW; i += blockDim.x) dec[i] = decayed(dec[i], missed);
#endif
  __syncthreads();
  if (threadIdx.x != 0) return;
#define SETTLE(name) a.v_##name[j] = decayed(a.v_##name[j], missed);
  EACH_TRAINED_SCALAR(SETTLE)
  a.updated[j] = a.step;
}
`;
