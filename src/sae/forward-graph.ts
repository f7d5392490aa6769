import type { GraphBuilder, Value } from '../onnx/graph.js';
import type { Architecture, ParameterName } from './sae.js';

/** The parameters of an SAE as values of a graph. */
export type ParameterValues = Partial<Record<ParameterName, Value>>;

/** p = (x − b_dec) W_enc, [tokens, d_sae]: the one dense product of the encoder. */
export function preActivation(g: GraphBuilder, w: ParameterValues, x: Value): { centred: Value; p: Value } {
  const centred = g.sub(x, w.b_dec!);
  return { centred, p: g.matmul(centred, w.W_enc!) };
}

/** The gated encoder (paper, eq. 6 and 7, weights tied by W_mag = exp(r_mag) ∘ W_gate). */
export function gatedEncoder(g: GraphBuilder, w: ParameterValues, p: Value) {
  /** π_gate, which decides. */
  const piGate = g.add(p, w.b_gate!);
  /** 1 where the gate is open. */
  const open = g.positive(piGate);
  const expRMag = g.op('Exp', [w.r_mag!]);
  /** Magnitude before its ReLU. */
  const magnitude = g.add(g.mul(p, expRMag), w.b_mag!);
  const f = g.mul(open, g.relu(magnitude));
  return { piGate, open, expRMag, magnitude, f };
}

/** The standard encoder: f = ReLU(p + b_enc). */
export function standardEncoder(g: GraphBuilder, w: ParameterValues, p: Value): Value {
  return g.relu(g.add(p, w.b_enc!));
}

/** Feature activations f [tokens, d_sae] of x [tokens, d_in]. */
export function encode(g: GraphBuilder, architecture: Architecture, w: ParameterValues, x: Value): Value {
  const { p } = preActivation(g, w, x);
  return architecture === 'gated' ? gatedEncoder(g, w, p).f : standardEncoder(g, w, p);
}

/** x̂ = f W_dec + b_dec. */
export function decode(g: GraphBuilder, w: ParameterValues, f: Value): Value {
  return g.add(g.matmul(f, w.W_dec!), w.b_dec!);
}
