/**
 * Adam (Kingma and Ba 2015, algorithm 1) on one number. With β1 = 0 a feature without entries is left alone, and its
 * second moment catches up when it is next touched: multiplied by β2 once for every step missed, not by a power of it,
 * so that the bits do not depend on when anybody looked.
 */
export const adam = /* cuda */ `
// What a step sets: learning rate, λ / B, 1 / (1 − β1^t), 1 / (1 − β2^t).
#define STEP_NUMBERS float lr, float l1, float correction1, float correction2

__device__ float decayed(float v, int missed) {
  for (int k = 0; k < missed && v != 0.0f; k++) v *= BETA2;
  return v;
}

// What is to be taken from the parameter.
__device__ float adamChange(
    float gradient, float *m, float *v, int missed, float lr, float correction1, float correction2) {
  const float v1 = decayed(*v, missed) * BETA2 + gradient * gradient * FRESH2;
  *v = v1;
  float numerator = gradient;
#if MOMENTUM
  const float m1 = *m * BETA1 + gradient * FRESH1;
  *m = m1;
  numerator = m1 * correction1;
#endif
  return lr * (numerator / (sqrtf(v1 * correction2) + EPSILON));
}
`;
