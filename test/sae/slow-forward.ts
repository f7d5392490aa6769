import { PLAIN, type Sae } from '../../src/sae/sae.js';

/** The equations, entry by entry in float64, for one x: the paper's, and of jumprelu and topk SAELens's. */
export function slowForward(sae: Sae, x: ArrayLike<number>): { f: Float64Array; xHat: Float64Array } {
  const { dIn, dSae, parameters: w, forward = PLAIN } = sae;
  const { inner, restore } = normalise(sae, Array.from(x));
  const product = (W: Float32Array, j: number) => {
    let sum = 0;
    for (let i = 0; i < dIn; i++) {
      sum += (inner[i]! - (forward.apply_b_dec_to_input ? w.b_dec![i]! : 0)) * W[i * dSae + j]!;
    }
    return sum;
  };
  const rowNorm = (j: number) => Math.hypot(...w.W_dec!.subarray(j * dIn, (j + 1) * dIn));
  const rescaled = (j: number) => (forward.rescale_acts_by_decoder_norm ? rowNorm(j) : 1);
  const pre = Array.from({ length: dSae }, (_, j) => (product(w.W_enc!, j) + (w.b_enc?.[j] ?? 0)) * rescaled(j));
  const f = new Float64Array(dSae);
  for (let j = 0; j < dSae; j++) {
    const p = pre[j]!;
    if (sae.architecture === 'standard') f[j] = Math.max(0, p);
    else if (w.threshold) f[j] = p > w.threshold![j]! ? Math.max(0, p) : 0;
    else if (sae.architecture === 'topk') {
      const larger = pre.filter((other) => other > p).length;
      f[j] = larger < forward.k! ? Math.max(0, p) : 0;
    } else if (p + w.b_gate![j]! > 0) {
      const magnitude = sae.architecture === 'gated' ? Math.exp(w.r_mag![j]!) * p : product(w.W_mag!, j);
      f[j] = Math.max(0, magnitude + w.b_mag![j]!);
    }
  }
  const sum = Array.from(w.b_dec!);
  for (let j = 0; j < dSae; j++) {
    for (let i = 0; i < dIn; i++) sum[i]! += (f[j]! / rescaled(j)) * w.W_dec![j * dIn + i]!;
  }
  return { f, xHat: Float64Array.from(sum.map(restore)) };
}

function normalise({ dIn, forward = PLAIN }: Sae, x: number[]): { inner: number[]; restore: (y: number) => number } {
  if (forward.normalize_activations === 'none') return { inner: x, restore: (y) => y };
  if (forward.normalize_activations === 'constant_norm_rescale') {
    const factor = Math.sqrt(dIn) / Math.hypot(...x);
    return { inner: x.map((value) => value * factor), restore: (y) => y / factor };
  }
  const mean = x.reduce((a, b) => a + b, 0) / dIn;
  const deviation = Math.hypot(...x.map((value) => value - mean)) / Math.sqrt(dIn - 1);
  return { inner: x.map((value) => (value - mean) / (deviation + 1e-5)), restore: (y) => y * deviation + mean };
}
