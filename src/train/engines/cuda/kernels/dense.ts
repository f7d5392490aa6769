/** Slices of which many entries are active: everything per entry becomes a matrix, and sums over entries products. */

/**
 * Whether a slice is what it was taken for: listed entry by entry where few are active, else passed by products. What
 * it is follows from the number found alone. Where the guess was wrong, or the entries find no room, the step leaves. A
 * slice that is not listed has no entries in any list.
 */
export const judge = /* cuda */ `
extern "C" __global__ void judge(const judge_arguments a) {
  const long long before = *a.before;
  const int b = blockIdx.x * blockDim.x + threadIdx.x;
  if (!a.listed && b <= BATCH) a.starts[b] = (int)before;
  if (b != 0) return;
  const long long found = *a.end - before;
  *a.found = found;
  const bool fits = a.listed ? found <= a.limit && *a.end <= a.room : found > a.limit;
  if (!fits) *a.left = 1;
  if (!a.listed) *a.end = before;
}
`;

/**
 * `activate`: f and g of a slice from its p, 0 if it is not an entry, and the token's sums of the penalty, of features
 * with f > 0 and of ReLU(θ − h) of dead ones, added to dense_sums [2 or 3, BATCH]. One block per token.
 *
 * `denseFeatures`: what `features` does, from the slice's p and the products of W_dec with the residuals: p becomes ∂p,
 * df becomes f, dg becomes g. A block takes 32 features, each of its 32 warps every 32nd token.
 *
 * p_slice, f_slice, g_slice [BATCH, SLICE] of features [first, first + count).
 */
export const dense = /* cuda */ `
extern "C" __global__ void activate(const activate_arguments a) {
  const long long b = blockIdx.x;
  float penalty = 0.0f;
  float fired = 0.0f;
  float below = 0.0f;
  for (int i = threadIdx.x; i < a.count; i += blockDim.x) {
    const float p = a.p_slice[b * SLICE + i];
    const Scalars scalars = scalarsAt(a, a.first + i);
    const bool is = isEntry(scalars, p);
    const float f = is ? relu(magnitudeOf(scalars, p)) : 0.0f;
    const float g = is ? relu(p + scalars.bias) : 0.0f;
    a.f_slice[b * SLICE + i] = f;
#if SECOND
    a.g_slice[b * SLICE + i] = g;
#endif
    penalty += penalisedOf(f, g);
    fired += f > 0.0f ? 1.0f : 0.0f;
#if PRE_ACT_LOSS
    below += scalars.revival > 0.0f ? relu(-aboveThreshold(scalars, p)) : 0.0f;
#endif
  }
  penalty = blockSum(penalty);
  fired = blockSum(fired);
  below = blockSum(below);
  if (threadIdx.x != 0) return;
  a.dense_sums[b] += penalty;
  a.dense_sums[BATCH + b] += fired;
#if PRE_ACT_LOSS
  a.dense_sums[2 * BATCH + b] += below;
#endif
}

extern "C" __global__ void __launch_bounds__(1024) denseFeatures(const denseFeatures_arguments a) {
  if (*a.left) return;
  const int i = blockIdx.x * 32 + threadIdx.x % 32;
  const int j = a.first + i;
  const bool is_feature = i < a.count;
  const Scalars scalars = is_feature ? scalarsAt(a, j) : Scalars{};
  Gradient sum = {};
  float active = 0.0f;
  float fired = 0.0f;
  for (long long b = threadIdx.x / 32; b < BATCH && is_feature; b += 32) {
    const long long at = b * SLICE + i;
    const float p = a.p_slice[at];
    const bool is = isEntry(scalars, p);
    const float magnitude = magnitudeOf(scalars, p);
    const float of_f = (PENALTY_ON_F ? a.l1 : 0.0f) + a.f_slice[at];
    float of_g = penaltyOfSecond(a, b);
#if SECOND_DOTS
    of_g += a.g_slice[at];
#endif
    const Gradient gradient = is ? gradientOf(scalars, p, magnitude, of_f, of_g) : Gradient{};
    ADD(p)
    EACH_SCALAR(ADD)
    const float f = is ? relu(magnitude) : 0.0f;
    active += is ? 1.0f : 0.0f;
    fired += f > 0.0f ? 1.0f : 0.0f;
    a.p_slice[at] = gradient.p;
    a.f_slice[at] = f;
#if SECOND_TRAINS_DECODER
    a.g_slice[at] = is ? relu(p + scalars.bias) : 0.0f;
#endif
  }
#define OVER_BLOCK(name) sum.name = overWarps(sum.name);
  OVER_BLOCK(p)
  EACH_SCALAR(OVER_BLOCK)
  active = overWarps(active);
  fired = overWarps(fired);
  if (threadIdx.x >= 32 || !is_feature) return;
  a.feature_counts[j] = (int)active;
  moveScalars(a, j, sum, active > 0.0f, fired > 0.0f);
}
`;
