/**
 * What every kernel may use: sums over a warp and over a block, half-width floats; and kernels that add up columns and
 * metrics or move rows between the device's layout and the state's.
 */

/**
 * Sums over a warp and over a block, always in the same order; every thread gets the result. All threads of the warp or
 * the block must take part. A block has whole warps.
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

/** float16 to float32 by its bits, exactly; float32 to bfloat16, to the nearest, ties to even. NaN stays NaN. */
export const halves = /* cuda */ `
__device__ float widen(unsigned short half) {
  const unsigned magnitude = (unsigned)(half & 0x7fff) << 13;
  const unsigned sign = (unsigned)(half & 0x8000) << 16;
  // The exponents' biases differ by 112; multiplying also gives subnormals their value.
  const unsigned finite = __float_as_uint(__uint_as_float(magnitude) * __uint_as_float(0x77800000u));
  const unsigned special = magnitude >= (0x7c00u << 13) ? 0x7f800000u : 0u;
  return __uint_as_float(sign | finite | special);
}

__device__ unsigned short toBfloat16(float value) {
  const unsigned bits = __float_as_uint(value);
  if ((bits & 0x7fffffffu) > 0x7f800000u) return (unsigned short)((bits >> 16) | 0x40u);
  return (unsigned short)((bits + 0x7fffu + ((bits >> 16) & 1u)) >> 16);
}

#if BATCH_FLOAT16
typedef unsigned short Stored;
#define STORED(x) widen(x)
#elif BATCH_BFLOAT16
typedef unsigned short Stored;
#define STORED(x) __uint_as_float((unsigned)(x) << 16)
#else
typedef float Stored;
#define STORED(x) (x)
#endif
`;

/** A thread's elements of a row, c counting them: the same ones throughout. */
export const elements = /* cuda */ `
#define FOR_ELEMENTS(width, per_thread) \\
  _Pragma("unroll") for (int c = 0; c < per_thread; c++) \\
    for (int i = threadIdx.x + c * ROW_THREADS, once = 1; once && i < width; once = 0)
#define FOR_IN FOR_ELEMENTS(D_IN_ROW, IN_PER_THREAD)
#define FOR_OUT FOR_ELEMENTS(D_OUT_ROW, OUT_PER_THREAD)
`;

/**
 * Sums down the columns of [rows, width]: a block takes 32 columns, each of its 32 warps every 32nd row. `variance` is
 * Σ (y − ȳ)² of a block's columns, about the first row: rows that are all alike have none at all, not that of a rounded
 * mean.
 */
export const columns = /* cuda */ `
// The sum over the 32 warps of what each has at this thread's lane, in their order; every warp gets it.
__device__ float overWarps(float value) {
  __shared__ float parts[32][33];
  const int lane = threadIdx.x % 32;
  parts[threadIdx.x / 32][lane] = value;
  __syncthreads();
  float sum = 0.0f;
  for (int w = 0; w < 32; w++) sum += parts[w][lane];
  __syncthreads();
  return sum;
}

// Of the column of this thread's lane; every warp gets it.
__device__ float columnSum(const float *in, int rows, int width, int column, float origin, float mean, bool squared) {
  float sum = 0.0f;
  if (column < width) {
    for (int row = threadIdx.x / 32; row < rows; row += 32) {
      const float value = in[(long long)row * width + column] - origin - mean;
      sum += squared ? value * value : value;
    }
  }
  return overWarps(sum);
}

extern "C" __global__ void __launch_bounds__(1024) sumColumns(const sumColumns_arguments a) {
  const int column = blockIdx.x * 32 + threadIdx.x % 32;
  const float sum = columnSum(a.from, a.rows, a.width, column, 0.0f, 0.0f, false);
  if (threadIdx.x < 32 && column < a.width) a.to[column] = sum;
}

extern "C" __global__ void __launch_bounds__(1024) variance(const variance_arguments a) {
  const int column = blockIdx.x * 32 + threadIdx.x % 32;
  const float origin = column < D_OUT_ROW ? a.yc[column] : 0.0f;
  const float mean = columnSum(a.yc, BATCH, D_OUT_ROW, column, origin, 0.0f, false) * (1.0f / BATCH);
  const float squares = columnSum(a.yc, BATCH, D_OUT_ROW, column, origin, mean, true);
  const float sum = warpSum(squares);
  if (threadIdx.x == 0) a.variance[blockIdx.x] = sum;
}
`;

/**
 * What `metrics` leaves, in order: sums over the batch, counts, and whether the step is to be done again; then the
 * number found active in each slice.
 */
export const METRIC_SUMS = [
  'entries',
  'squares',
  'auxSquares',
  'penalty',
  'active',
  'variance',
  'dead',
  'left',
] as const;

/** The sums of a step in double, by one block. Where the step left, only what was found counts. */
export const metrics = /* cuda */ `
extern "C" __global__ void metrics(const metrics_arguments a) {
  for (int n = 0; n < 4; n++) {
    double sum = 0.0;
    for (int b = threadIdx.x; b < BATCH; b += blockDim.x) sum += a.token_sums[n * BATCH + b];
    sum = blockSumDouble(sum);
    if (threadIdx.x == 0) a.metrics[1 + n] = sum;
  }
  double sum = 0.0;
  for (int k = threadIdx.x; k < (D_OUT_ROW + 31) / 32; k += blockDim.x) sum += a.variance[k];
  sum = blockSumDouble(sum);
  if (threadIdx.x != 0) return;
  a.metrics[0] = (double)*a.total;
  a.metrics[5] = sum;
  a.metrics[6] = (double)*a.dead;
  a.metrics[7] = (double)*a.left;
  for (int s = 0; s < FOUND; s++) a.metrics[8 + s] = (double)a.found[s];
}
`;

/**
 * Between the device's matrices, one padded row per feature, and pieces of the state: rows of W_dec as they are, W_enc
 * [d_in, d_sae] by columns, a piece holding those of features [first, first + count). One block per feature.
 */
export const layout = /* cuda */ `
#define PLACE(i) (a.transposed ? (long long)(i) * a.count + blockIdx.x : (long long)blockIdx.x * a.width + (i))

extern "C" __global__ void toRows(const toRows_arguments a) {
  const long long row = ((long long)a.first + blockIdx.x) * a.padded;
  for (int i = threadIdx.x; i < a.padded; i += blockDim.x) a.matrix[row + i] = i < a.width ? a.piece[PLACE(i)] : 0.0f;
}

extern "C" __global__ void fromRows(const fromRows_arguments a) {
  const long long row = ((long long)a.first + blockIdx.x) * a.padded;
  for (int i = threadIdx.x; i < a.width; i += blockDim.x) a.piece[PLACE(i)] = a.matrix[row + i];
}

extern "C" __global__ void roundRows(const roundRows_arguments a) {
  const long long row = (long long)blockIdx.x * D_IN_ROW;
  for (int i = threadIdx.x; i < D_IN_ROW; i += blockDim.x) a.W_enc_bfloat16[row + i] = toBfloat16(a.W_enc[row + i]);
}
`;
