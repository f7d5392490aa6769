/**
 * Sums down the columns of [rows, D_ROW]: a block takes 32 columns, each of its 32 warps every 32nd row. `variance` is
 * Σ (x − x̄)² of a block's columns.
 */
export const columns = /* cuda */ `
// Of the column of this thread's lane; every warp gets it.
__device__ float columnSum(const float *in, int rows, int column, float mean, bool squared) {
  __shared__ float parts[32][33];
  const int lane = threadIdx.x % 32;
  const int warp = threadIdx.x / 32;
  float sum = 0.0f;
  if (column < D_ROW) {
    for (int row = warp; row < rows; row += 32) {
      const float value = in[(long long)row * D_ROW + column] - mean;
      sum += squared ? value * value : value;
    }
  }
  parts[warp][lane] = sum;
  __syncthreads();
  sum = 0.0f;
  for (int w = 0; w < 32; w++) sum += parts[w][lane];
  __syncthreads();
  return sum;
}

extern "C" __global__ void __launch_bounds__(1024) sumColumns(const float *in, int rows, float *out) {
  const int column = blockIdx.x * 32 + threadIdx.x % 32;
  const float sum = columnSum(in, rows, column, 0.0f, false);
  if (threadIdx.x < 32 && column < D_ROW) out[column] = sum;
}

extern "C" __global__ void __launch_bounds__(1024) variance(const float *xc, float *out) {
  const int column = blockIdx.x * 32 + threadIdx.x % 32;
  const float mean = columnSum(xc, BATCH, column, 0.0f, false) * (1.0f / BATCH);
  const float squares = columnSum(xc, BATCH, column, mean, true);
  const float sum = warpSum(squares);
  if (threadIdx.x == 0) out[blockIdx.x] = sum;
}
`;
