/** What `metrics` leaves, in order: sums over the batch, and counts. */
export const METRIC_SUMS = ['entries', 'squares', 'auxSquares', 'penalty', 'active', 'variance', 'dead'] as const;

/**
 * The sums of a step in double, by one block; the number of entries stands first, and where it is more than there was
 * room for, nothing else counts.
 */
export const metrics = /* cuda */ `
extern "C" __global__ void metrics(
    const float *token_sums, const float *variance, const long long *total, const int *dead, double *out) {
  for (int n = 0; n < 4; n++) {
    double sum = 0.0;
    for (int b = threadIdx.x; b < BATCH; b += blockDim.x) sum += token_sums[n * BATCH + b];
    sum = blockSumDouble(sum);
    if (threadIdx.x == 0) out[1 + n] = sum;
  }
  double sum = 0.0;
  for (int k = threadIdx.x; k < (D_ROW + 31) / 32; k += blockDim.x) sum += variance[k];
  sum = blockSumDouble(sum);
  if (threadIdx.x != 0) return;
  out[0] = (double)*total;
  out[5] = sum;
  out[6] = (double)*dead;
}
`;
