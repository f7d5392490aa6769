import type { GraphBuilder, Value } from '../../onnx/graph.js';
import { type Architecture, decode, type ParameterValues, type SparseForm, squaredDistance } from '../architecture.js';

/** f = ReLU(p + b_enc) */
function encode(g: GraphBuilder, w: ParameterValues, p: Value): Value {
  return g.relu(g.add(p, w.b_enc!));
}

const FORM: SparseForm = { select: { kind: 'positive', bias: 'b_enc' }, rule: 'relu', penalty: 'f' };

/** The baseline: |y − ŷ|² + λ Σ f with unit-norm decoder rows. */
export const standard: Architecture<object> = {
  name: 'standard',
  about: 'ReLU + L1',
  parameters: ['W_enc', 'W_dec', 'b_dec', 'b_enc'],
  proportional: ['b_dec', 'b_enc'],
  encode: (g, w, { p }) => encode(g, w, p),
  unit: ({ b_enc }, j) => {
    const bias = b_enc![j]!;
    return (p) => Math.max(0, p + bias);
  },
  writtenAs: {
    /**
     * One bias serves for both gate and magnitude, and r_mag = 0: 1[p + b > 0] ReLU(p + b) = ReLU(p + b), bit for bit.
     */
    gated: ({ W_enc, W_dec, b_dec, b_enc }, { dSae }) => ({
      W_enc,
      W_dec,
      b_dec,
      b_gate: b_enc!.slice(),
      b_mag: b_enc!.slice(),
      r_mag: new Float32Array(dSae),
    }),
    gated_untied: ({ W_enc, W_dec, b_dec, b_enc }) => ({
      W_enc,
      W_mag: W_enc!.slice(),
      W_dec,
      b_dec,
      b_gate: b_enc!.slice(),
      b_mag: b_enc!.slice(),
    }),
    jumprelu: (w, { dSae }) => ({ ...w, threshold: new Float32Array(dSae) }),
  },
  saelens: { names: ['standard'], transcoderPrefix: '', activation: 'relu' },
  look: { label: 'standard', colour: 1 },
  training: {
    flags: {},
    penalised: true,
    options: () => ({}),
    trains: () => standard.parameters,
    sparseStart: { kind: 'thresholds', opening: (thresholds) => ({ b_enc: thresholds.map((t) => -t) }) },
    loss(g, w, { x, y, sparsity }) {
      const f = encode(g, w, x.p);
      return {
        f,
        mse: squaredDistance(g, decode(g, w, f), y),
        penalty: g.mul(sparsity, g.reduceSum(f, [1])),
      };
    },
    sparse: () => FORM,
    cuda: () => FORM,
  },
};
