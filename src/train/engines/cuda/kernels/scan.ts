/**
 * starts[i] = *total + counts[0] + … + counts[i − 1] for i up to and with n; *total becomes the last. One block, each
 * thread a run of counts. Beyond 2³¹ starts are wrong and *total is not: whoever reads them looks at that first.
 */
export const scan = /* cuda */ `
extern "C" __global__ void __launch_bounds__(1024) scan(const int *counts, int n, int *starts, long long *total) {
  const int each = (n + blockDim.x - 1) / blockDim.x;
  const int from = min(n, (int)threadIdx.x * each);
  const int to = min(n, from + each);
  long long sum = 0;
  for (int i = from; i < to; i++) sum += counts[i];
  __shared__ long long sums[1024];
  sums[threadIdx.x] = sum;
  const long long before = *total;
  __syncthreads();
  long long at = before;
  for (int t = 0; t < (int)threadIdx.x; t++) at += sums[t];
  for (int i = from; i < to; i++) {
    starts[i] = (int)at;
    at += counts[i];
  }
  if (threadIdx.x == blockDim.x - 1) {
    starts[n] = (int)at;
    *total = at;
  }
}
`;
