/** A parameter without a gradient, the running mean of the smallest activation that each batch kept. */

/** It stays as it is where the batch kept none. */
export const follow = /* cuda */ `
extern "C" __global__ void follow(const follow_arguments a) {
  const int j = blockIdx.x * blockDim.x + threadIdx.x;
  const unsigned smallest = a.cut->place[0];
  if (*a.left || j >= N_FEATURES || smallest == 0u) return;
  a.followed[j] = FOLLOW_KEPT * a.followed[j] + FOLLOW_SHARE * __uint_as_float(smallest);
}
`;
