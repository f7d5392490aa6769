/**
 * Sums over a warp and over a block, always in the same order; every thread gets the result. All threads of the warp, or
 * the block, must come. A block has whole warps.
 */
export const reductions = /* cuda */ `
#define EVERY_LANE 0xffffffffu

__device__ float warpSum(float value) {
  for (int apart = 16; apart > 0; apart /= 2) value += __shfl_xor_sync(EVERY_LANE, value, apart);
  return value;
}

__device__ float blockSum(float value) {
  __shared__ float parts[32];
  value = warpSum(value);
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = value;
  __syncthreads();
  float sum = 0.0f;
  for (int w = 0; w < (int)blockDim.x / 32; w++) sum += parts[w];
  __syncthreads();
  return sum;
}

__device__ double blockSumDouble(double value) {
  __shared__ double values[1024];
  values[threadIdx.x] = value;
  __syncthreads();
  double sum = 0.0;
  if (threadIdx.x == 0) for (int t = 0; t < (int)blockDim.x; t++) sum += values[t];
  if (threadIdx.x == 0) values[0] = sum;
  __syncthreads();
  sum = values[0];
  __syncthreads();
  return sum;
}

// The sum of the values of the threads before this one; total is that of all.
__device__ int blockPrefix(int value, int *total) {
  __shared__ int ends[32];
  const int lane = threadIdx.x % 32;
  int sum = value;
  for (int apart = 1; apart < 32; apart *= 2) {
    const int before = __shfl_up_sync(EVERY_LANE, sum, apart);
    if (lane >= apart) sum += before;
  }
  if (lane == 31) ends[threadIdx.x / 32] = sum;
  __syncthreads();
  int offset = 0;
  int all = 0;
  for (int w = 0; w < (int)blockDim.x / 32; w++) {
    if (w < (int)threadIdx.x / 32) offset += ends[w];
    all += ends[w];
  }
  __syncthreads();
  *total = all;
  return offset + sum - value;
}
`;
