/**
 * Between the device's rows, one a feature and padded, and pieces of the engines' arrays: W_dec's rows as they are, W_enc
 * [d_in, d_sae] by columns, a piece having those of features [first, first + count). A block a feature.
 */
export const layout = /* cuda */ `
#define PLACE(i) (transposed ? (long long)(i) * count + blockIdx.x : (long long)blockIdx.x * D_IN + (i))

extern "C" __global__ void toRows(const float *piece, float *rows, int first, int count, int transposed) {
  const long long row = ((long long)first + blockIdx.x) * D_ROW;
  for (int i = threadIdx.x; i < D_ROW; i += blockDim.x) rows[row + i] = i < D_IN ? piece[PLACE(i)] : 0.0f;
}

extern "C" __global__ void fromRows(const float *rows, float *piece, int first, int count, int transposed) {
  const long long row = ((long long)first + blockIdx.x) * D_ROW;
  for (int i = threadIdx.x; i < D_IN; i += blockDim.x) piece[PLACE(i)] = rows[row + i];
}

extern "C" __global__ void roundRows(const float *rows, unsigned short *rounded) {
  const long long row = (long long)blockIdx.x * D_ROW;
  for (int i = threadIdx.x; i < D_ROW; i += blockDim.x) rounded[row + i] = toBfloat16(rows[row + i]);
}
`;
