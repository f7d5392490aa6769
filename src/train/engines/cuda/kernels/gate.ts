/**
 * The encoder on a pre-activation p (paper, eq. 6 and 7): an entry is active where π = p + bias is above 0, bias being
 * b_gate or b_enc; f of an active entry. NaN is active, and stays NaN, so that it reaches the loss.
 */
export const gate = /* cuda */ `
__device__ bool isActive(float p, float bias) {
  return !(p + bias <= 0.0f);
}

__device__ float relu(float x) {
  return x <= 0.0f ? 0.0f : x;
}

// π_mag, or π of a standard SAE; r_mag and b_mag are those of the feature.
#if GATED
#define MAGNITUDE(p, j) ((p) * expf(r_mag[j]) + b_mag[j])
#else
#define MAGNITUDE(p, j) ((p) + bias[j])
#endif
`;
