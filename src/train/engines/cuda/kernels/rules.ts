/** What becomes of an entry, and which pre-activations are entries: a text for each rule of a form. */
import type { SparseForm } from '../../../../sae/architecture.js';
import type { ParameterName } from '../../../../sae/sae.js';

/** What becomes of an entry under a rule. */
interface EntryRule {
  /** Parameters of a feature next to the bias of its selection. */
  readonly scalars: readonly ParameterName[];
  /**
   * The same names for every rule: `Scalars` of a feature and `scalarsAt`; `isEntry`, is p of use; `magnitudeOf` an
   * entry, of which ReLU is f; and its `gradientOf`, given what the loss has for f and for g = ReLU(p + bias), the
   * penalties included. `Gradient` has p and each scalar; EACH_SCALAR(DO) calls DO for each of the latter.
   */
  readonly text: string;
}

export const RULES: Readonly<Record<SparseForm['rule'], EntryRule>> = {
  // f = ReLU(p + bias)
  relu: {
    scalars: [],
    text: /* cuda */ `
#define EACH_SCALAR(DO) DO(bias)
struct Scalars { float bias; };
struct Gradient { float p, bias; };

template <class Arguments> __device__ Scalars scalarsAt(const Arguments &a, int j) {
  return {a.bias[j]};
}

__device__ bool isEntry(Scalars s, float p) {
  return !(p + s.bias <= 0.0f);
}

__device__ float magnitudeOf(Scalars s, float p) {
  return p + s.bias;
}

__device__ Gradient gradientOf(Scalars, float, float magnitude, float of_f, float) {
  const float change = magnitude > 0.0f ? of_f : 0.0f;
  return {change, change};
}
`,
  },
  // f = ReLU(exp(r_mag) p + b_mag) where p + bias > 0 (Rajamanoharan et al. 2024, equations 6 and 7)
  gated: {
    scalars: ['b_mag', 'r_mag'],
    text: /* cuda */ `
#define EACH_SCALAR(DO) DO(bias) DO(b_mag) DO(r_mag)
struct Scalars { float bias, b_mag, factor; };
struct Gradient { float p, bias, b_mag, r_mag; };

template <class Arguments> __device__ Scalars scalarsAt(const Arguments &a, int j) {
  return {a.bias[j], a.b_mag[j], expf(a.r_mag[j])};
}

__device__ bool isEntry(Scalars s, float p) {
  return !(p + s.bias <= 0.0f);
}

__device__ float magnitudeOf(Scalars s, float p) {
  return p * s.factor + s.b_mag;
}

__device__ Gradient gradientOf(Scalars s, float p, float magnitude, float of_f, float of_g) {
  const float change = magnitude > 0.0f ? of_f : 0.0f;
  return {of_g + s.factor * change, of_g, change, change * (s.factor * p)};
}
`,
  },
  // f = h where h = p + bias > θ, trained by straight-through estimators (Rajamanoharan et al. 2024b): with K = 1 where
  // |h − θ| < ε/2, else 0, ∂f/∂θ stands for −(θ/ε) K, and ∂1[h > θ]/∂θ for −K/ε; of_open is what the loss has for the
  // latter, or λ / B where tanh(c f) is penalised. Below θ an entry has f = 0: there it trains θ, or is of a feature that
  // was dead before the step, whose ReLU(θ − h) has the weight `revival`.
  jumprelu: {
    scalars: ['threshold'],
    text: /* cuda */ `
#define EACH_SCALAR(DO) DO(bias) DO(threshold)
struct Scalars { float bias, threshold, revival; };
struct Gradient { float p, bias, threshold; };

template <class Arguments> __device__ Scalars scalarsAt(const Arguments &a, int j) {
  return {a.bias[j], a.threshold[j], PRE_ACT_LOSS && a.since_fired[j] >= DEAD_WINDOW ? PRE_ACT / BATCH : 0.0f};
}

__device__ float aboveThreshold(Scalars s, float p) {
  return p + s.bias - s.threshold;
}

// Is it open, or near the threshold? Only then the reconstruction says something about it.
__device__ bool isOpenOrNear(float above) {
  return !(above <= 0.0f) || -above < HALF_BANDWIDTH;
}

__device__ bool isEntry(Scalars s, float p) {
  return isOpenOrNear(aboveThreshold(s, p)) || s.revival > 0.0f;
}

__device__ float magnitudeOf(Scalars s, float p) {
  return aboveThreshold(s, p) <= 0.0f ? 0.0f : p + s.bias;
}

__device__ Gradient gradientOf(Scalars s, float p, float magnitude, float of_f, float of_open) {
  const float above = aboveThreshold(s, p);
  float slope = of_f;
  float height = of_open;
#if PENALTY_TANH
  // λ c tanh′(c f) = 4 λ c exp(−2 c f) / (1 + exp(−2 c f))²
  const float fall = expf(-2.0f * TANH_SCALE * magnitude);
  slope += of_open * (4.0f * TANH_SCALE) * fall / ((1.0f + fall) * (1.0f + fall));
  height = 0.0f;
#endif
  float of_p = above <= 0.0f ? 0.0f : slope;
  float of_threshold = 0.0f;
  if (above < 0.0f) {
    of_p -= s.revival;
    of_threshold = s.revival;
  }
  if (fabsf(above) < HALF_BANDWIDTH) {
    const float estimate = (s.threshold * slope + height) * PER_BANDWIDTH;
    of_threshold -= estimate;
    of_p += TO_ENCODER ? estimate : 0.0f;
  }
  return {of_p, of_p, of_threshold};
}
`,
  },
};

/** What the loss has, by its penalty, for g of an entry of a token; for 1[h > θ] where f jumps. */
export const penaltyOfSecond = /* cuda */ `
template <class Arguments> __device__ float penaltyOfSecond(const Arguments &a, long long b) {
#if PENALTY_QUADRATIC
  return a.l1 * (4.0f / TARGET_L0) * (a.token_sums[3 * BATCH + b] - TARGET_L0);
#else
  (void)b;
  return PENALTY_ON_G || PENALTY_STEP || PENALTY_TANH ? a.l1 : 0.0f;
#endif
}
`;
