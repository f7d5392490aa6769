/** Pearson's statistic Σ (observed − expected)² / expected of equally likely cells. */
export function chiSquare(counts: ArrayLike<number>): number {
  const observed = Array.from(counts);
  const expected = observed.reduce((sum, count) => sum + count, 0) / observed.length;
  return observed.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
}

/**
 * What a chi-square variable of `freedom` degrees exceeds with probability 1e-6 (Wilson and Hilferty 1931: its cube root
 * is nearly normal; 4.753 is the normal quantile). Seeds are fixed, so a test that passes once passes always.
 */
export function chiSquareBound(freedom: number): number {
  const spread = 2 / (9 * freedom);
  return freedom * (1 - spread + 4.753 * Math.sqrt(spread)) ** 3;
}
