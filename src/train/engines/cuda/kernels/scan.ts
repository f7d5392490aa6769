/** Where runs begin, from their counts: sums of all before, over tiles and then over their sums. */

/** Counts of a tile: those of a block of 1024 threads. Sums of one are counted in int, so no count is above 2¹⁸. */
export const SCAN_TILE = 4096;

/**
 * starts[i] = *before + counts[0] + … + counts[i − 1] for i up to and including n; *end becomes the last. A block takes
 * a tile; if there are several, `sumTiles` has left their sums. Beyond 2³¹ the starts are wrong and *end is not, so
 * whoever reads them checks *end first.
 */
export const scan = /* cuda */ `
#define SCANNED_EACH (${SCAN_TILE} / 1024)

extern "C" __global__ void __launch_bounds__(1024) sumTiles(const sumTiles_arguments a) {
  int sum = 0;
#pragma unroll
  for (int c = 0; c < SCANNED_EACH; c++) {
    const int i = blockIdx.x * ${SCAN_TILE} + c * blockDim.x + threadIdx.x;
    sum += i < a.n ? a.counts[i] : 0;
  }
  int all;
  blockPrefix(sum, &all);
  if (threadIdx.x == 0) a.tile_sums[blockIdx.x] = all;
}

extern "C" __global__ void __launch_bounds__(1024) scan(const scan_arguments a) {
  const int first = blockIdx.x * ${SCAN_TILE} + threadIdx.x * SCANNED_EACH;
  int counts[SCANNED_EACH];
  int sum = 0;
#pragma unroll
  for (int c = 0; c < SCANNED_EACH; c++) {
    counts[c] = first + c < a.n ? a.counts[first + c] : 0;
    sum += counts[c];
  }
  int all;
  long long at = *a.before + blockPrefix(sum, &all);
  for (int tile = 0; tile < (int)blockIdx.x; tile++) at += a.tile_sums[tile];
#pragma unroll
  for (int c = 0; c < SCANNED_EACH; c++) {
    if (first + c >= a.n) continue;
    a.starts[first + c] = (int)at;
    at += counts[c];
    if (first + c < a.n - 1) continue;
    a.starts[a.n] = (int)at;
    *a.end = at;
  }
}
`;
