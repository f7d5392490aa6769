/** AuxK: the second decode, by which dead features learn. */

/**
 * Gao et al. 2024, section A.2: the entries of dead features, which come after all others, reconstruct the error
 * e = y − ŷ without a bias, ŷ of all features. What trains is c |e − ê|² with c = α Σ (y − ȳ)² / Σ (e − ē)², where e and c
 * are constants, so r_dead = 2 c (ê − e) / B; c is 0 where all errors are alike. One block per token.
 *
 * variance, error_variance: sums over 32 columns each, of y and of r_whole = −2 w e / B, w the weight of that error.
 */
export const auxK = /* cuda */ `
extern "C" __global__ void __launch_bounds__(ROW_THREADS) decodeDead(const decodeDead_arguments a) {
  if (*a.left) return;
  __shared__ Staged staged;
  const long long b = blockIdx.x;
  const int list = LISTS * BATCH;
  Decoded found = {};
  addDecoded(a, staged, found, a.token_start[list + b], a.token_start[list + b + 1]);
  const float to_error = -0.5f * BATCH / LAST_WEIGHT;
  float whole = 0.0f;
  float left = 0.0f;
  for (int k = 0; k < (D_OUT_ROW + 31) / 32; k++) {
    whole += a.variance[k];
    left += a.error_variance[k];
  }
  left *= to_error * to_error;
  const float c_aux = left > 0.0f ? AUX_COEFFICIENT * whole / left : 0.0f;
  float squares = 0.0f;
  FOR_OUT {
    const float off = found.sum[c] - to_error * a.r_whole[b * D_OUT_ROW + i];
    squares += off * off;
    a.r_dead[b * D_OUT_ROW + i] = off * (c_aux * TWO_OVER_BATCH);
  }
  squares = blockSum(squares);
  if (threadIdx.x == 0) a.token_sums[BATCH + b] += c_aux * squares;
}
`;
