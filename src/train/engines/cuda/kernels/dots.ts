/** df = W_dec[j]·r_b and dg = W_dec[j]·r_aux,b of every entry; 0 where the latter trains nothing. A warp an entry, a block a token. */
export const dots = /* cuda */ `
extern "C" __global__ void dots(
    const float *w_dec, const float *r, const float *r_aux, const int *token_start, const int *feature, float *df,
    float *dg, const long long *total, long long room) {
  if (*total > room) return;
  const long long b = blockIdx.x;
  const int lane = threadIdx.x % 32;
  const int warps = blockDim.x / 32;
  for (int slice = 0; slice < SLICES; slice++) {
    const int last = token_start[slice * BATCH + b + 1];
    for (int k = token_start[slice * BATCH + b] + (int)threadIdx.x / 32; k < last; k += warps) {
      const float *row = w_dec + (long long)feature[k] * D_ROW;
      float dot = 0.0f;
      float dot_aux = 0.0f;
#pragma unroll 8
      for (int i = lane; i < D_ROW; i += 32) {
        const float w = row[i];
        dot += w * r[b * D_ROW + i];
#if AUXILIARY_DOTS
        dot_aux += w * r_aux[b * D_ROW + i];
#endif
      }
      dot = warpSum(dot);
      dot_aux = warpSum(dot_aux);
      if (lane == 0) {
        df[k] = dot;
        dg[k] = dot_aux;
      }
    }
  }
}
`;
