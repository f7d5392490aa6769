/** The value below which a share `q` of the values lies; linear between neighbours. */
export function quantile(values: readonly number[], q: number): number {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (sorted.length - 1) * q;
  const low = Math.floor(at);
  return sorted[low]! + (at - low) * ((sorted[low + 1] ?? sorted[low]!) - sorted[low]!);
}

export function median(values: readonly number[]): number {
  return quantile(values, 0.5);
}

/** Least squares y = intercept + slope · x, and the share of y's variance it explains. */
export function linearFit(x: readonly number[], y: readonly number[]) {
  const mean = (values: readonly number[]) => values.reduce((a, b) => a + b, 0) / values.length;
  const [mx, my] = [mean(x), mean(y)];
  const sum = (of: (i: number) => number) => x.reduce((total, _, i) => total + of(i), 0);
  const slope = sum((i) => (x[i]! - mx) * (y[i]! - my)) / sum((i) => (x[i]! - mx) ** 2);
  const intercept = my - slope * mx;
  const rest = sum((i) => (y[i]! - intercept - slope * x[i]!) ** 2);
  return { intercept, slope, r2: 1 - rest / sum((i) => (y[i]! - my) ** 2) };
}
