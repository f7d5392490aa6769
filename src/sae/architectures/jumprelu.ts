import type { Architecture } from '../architecture.js';

/** SAELens's jumprelu: f = 1[p + b_enc > θ] ReLU(p + b_enc). */
export const jumprelu: Architecture = {
  name: 'jumprelu',
  about: 'JumpReLU (Rajamanoharan et al. 2024b)',
  parameters: ['W_enc', 'W_dec', 'b_dec', 'b_enc', 'threshold'],
  proportional: ['b_dec', 'b_enc', 'threshold'],
  encode(g, w, { p }) {
    const pre = g.add(p, w.b_enc!);
    return g.mul(g.relu(pre), g.cast(g.op('Greater', [pre, w.threshold!]), 'float32'));
  },
  unit: ({ b_enc, threshold }, j) => {
    const [bias, least] = [b_enc![j]!, threshold![j]!];
    return (p) => (p + bias > least ? Math.max(0, p + bias) : 0);
  },
  saelens: { names: ['jumprelu'] },
  look: { label: 'jumprelu' },
};
