/** Upper tail of the standard normal distribution, P(z > x), to seven digits (erfc by Numerical Recipes' Chebyshev fit). */
export function upperTail(x: number): number {
  const z = Math.abs(x) / Math.SQRT2;
  const t = 1 / (1 + 0.5 * z);
  const terms = [
    -1.26551223, 1.00002368, 0.37409196, 0.09678418, -0.18628806, 0.27886807, -1.13520398, 1.48851587, -0.82215223,
    0.17087277,
  ];
  const exponent = terms.reduceRight((sum, term) => sum * t + term, 0) - z * z;
  const tail = (t * Math.exp(exponent)) / 2;
  return x >= 0 ? tail : 1 - tail;
}

/** The x exceeded by a share `tail` of the standard normal distribution. */
export function quantileAbove(tail: number): number {
  let [low, high] = [-40, 40];
  for (let i = 0; i < 100; i++) {
    const middle = (low + high) / 2;
    if (upperTail(middle) > tail) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

/**
 * Share of features that an untrained SAE with b_dec 0 and random unit directions would have dead on `rows` activations
 * (Simon, Adams, Zou 2026, arXiv 2605.31518): a constant vector γ times as long as the deviations shifts every
 * pre-activation by γ z, and a feature whose z is far enough below 0 never fires.
 *
 * @param gamma |μ| / |σ| after per-token LayerNorm
 */
export function expectedDead(gamma: number, rows: number, { k, dSae }: { readonly k: number; readonly dSae: number }) {
  const reach = quantileAbove(1 / Math.max(2, rows)) / gamma;
  const threshold = quantileAbove(Math.min(1, k / dSae));
  return { relu: upperTail(reach), topk: upperTail(reach - threshold) };
}
