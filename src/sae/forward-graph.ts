import type { GraphBuilder, Value } from '../onnx/graph.js';
import { type Architecture, type ForwardSettings, type ParameterName, PLAIN } from './sae.js';

/** The parameters of an SAE as values of a graph. */
export type ParameterValues = Partial<Record<ParameterName, Value>>;

/** p = (x − b_dec) W_enc, [tokens, d_sae]: the one dense product of the encoder. */
export function preActivation(g: GraphBuilder, w: ParameterValues, x: Value): { centred: Value; p: Value } {
  const centred = g.sub(x, w.b_dec!);
  return { centred, p: g.matmul(centred, w.W_enc!) };
}

/** The gated encoder (paper, eq. 6 and 7, weights tied by W_mag = exp(r_mag) ∘ W_gate). */
export function gatedEncoder(g: GraphBuilder, w: ParameterValues, p: Value) {
  const expRMag = g.op('Exp', [w.r_mag!]);
  return { expRMag, ...gate(g, w, p, g.mul(p, expRMag)) };
}

/** The gated encoder with a matrix of its own for magnitudes (paper, eq. 6 without 7); p = centred · W_enc. */
export function untiedEncoder(g: GraphBuilder, w: ParameterValues, centred: Value, p: Value) {
  return gate(g, w, p, g.matmul(centred, w.W_mag!));
}

/** f = 1[π_gate > 0] ReLU(π_mag); `scaled` is π_mag without its bias. */
function gate(g: GraphBuilder, w: ParameterValues, p: Value, scaled: Value) {
  /** π_gate, which decides. */
  const piGate = g.add(p, w.b_gate!);
  /** 1 where the gate is open. */
  const open = g.positive(piGate);
  /** Magnitude before its ReLU. */
  const magnitude = g.add(scaled, w.b_mag!);
  const f = g.mul(open, g.relu(magnitude));
  return { piGate, open, magnitude, f };
}

/** The standard encoder: f = ReLU(p + b_enc). */
export function standardEncoder(g: GraphBuilder, w: ParameterValues, p: Value): Value {
  return g.relu(g.add(p, w.b_enc!));
}

/** SAELens's jumprelu: f = 1[p + b_enc > θ] ReLU(p + b_enc). */
function jumpReluEncoder(g: GraphBuilder, w: ParameterValues, p: Value): Value {
  const pre = g.add(p, w.b_enc!);
  return g.mul(g.relu(pre), g.cast(g.op('Greater', [pre, w.threshold!]), 'float32'));
}

/** SAELens's topk: the k largest of p + b_enc, then ReLU; the rest is zero. */
function topKEncoder(g: GraphBuilder, w: ParameterValues, p: Value, { k, ...settings }: ForwardSettings): Value {
  let pre = g.add(p, w.b_enc!);
  if (settings.rescale_acts_by_decoder_norm) pre = g.mul(pre, decoderNorms(g, w));
  const [values, indices] = g.ops('TopK', [pre, g.ints(k!)], 2, { axis: -1 });
  const zeros = g.op('ConstantOfShape', [g.op('Shape', [pre])]);
  return g.op('ScatterElements', [zeros, indices!, g.relu(values!)], { axis: -1 });
}

/** |W_dec[j]|, [d_sae]. */
function decoderNorms(g: GraphBuilder, w: ParameterValues): Value {
  return g.op('Sqrt', [g.reduceSumSquare(w.W_dec!, [1])]);
}

/** x̂ = f W_dec + b_dec. */
export function decode(g: GraphBuilder, w: ParameterValues, f: Value): Value {
  return g.add(g.matmul(f, w.W_dec!), w.b_dec!);
}

/** What a forward pass needs to know of an SAE. */
export interface ForwardForm {
  readonly architecture: Architecture;
  /** PLAIN where absent. */
  readonly forward?: ForwardSettings;
}

/** Feature activations f [tokens, d_sae] and the reconstruction x̂ [tokens, d_in] of x [tokens, d_in]. */
export function forward(g: GraphBuilder, sae: ForwardForm, w: ParameterValues, x: Value): { f: Value; xHat: Value } {
  const settings = sae.forward ?? PLAIN;
  const { inner, restore } = normalized(g, settings.normalize_activations, x);
  const { centred, p } = settings.apply_b_dec_to_input
    ? preActivation(g, w, inner)
    : { centred: inner, p: g.matmul(inner, w.W_enc!) };
  const f = encoder(g, sae.architecture, settings, w, centred, p);
  const decoded = settings.rescale_acts_by_decoder_norm ? g.div(f, decoderNorms(g, w)) : f;
  return { f, xHat: restore(decode(g, w, decoded)) };
}

function encoder(
  g: GraphBuilder,
  architecture: Architecture,
  settings: ForwardSettings,
  w: ParameterValues,
  centred: Value,
  p: Value,
): Value {
  switch (architecture) {
    case 'gated':
      return gatedEncoder(g, w, p).f;
    case 'gated_untied':
      return untiedEncoder(g, w, centred, p).f;
    case 'standard':
      return standardEncoder(g, w, p);
    case 'jumprelu':
      return jumpReluEncoder(g, w, p);
    case 'topk':
      return topKEncoder(g, w, p, settings);
  }
}

/** SAELens's ε in its layer norm, beside the deviation and not under the root. */
const LAYER_NORM_EPSILON = 1e-5;

/**
 * What the SAE sees of x [tokens, d_in], token by token, and how its output is brought back, as SAELens computes
 * `normalize_activations` (sae_lens/saes/sae.py, 6.54).
 */
export function normalized(
  g: GraphBuilder,
  kind: ForwardSettings['normalize_activations'],
  x: Value,
): { inner: Value; restore: (xHat: Value) => Value } {
  if (kind === 'none') return { inner: x, restore: (xHat) => xHat };
  const dIn = g.cast(g.op('Slice', [g.op('Shape', [x]), g.ints(1), g.ints(2)]), 'float32');
  if (kind === 'constant_norm_rescale') {
    // x √d_in / |x|
    const norm = g.op('Sqrt', [g.reduceSumSquare(x, [1], true)]);
    const factor = g.div(g.op('Sqrt', [dIn]), norm);
    return { inner: g.mul(x, factor), restore: (xHat) => g.div(xHat, factor) };
  }
  // (x − μ) / (σ + ε), σ with d_in − 1; back without ε
  const mean = g.op('ReduceMean', [x, g.ints(1)], { keepdims: 1 });
  const centred = g.sub(x, mean);
  const variance = g.div(g.reduceSumSquare(centred, [1], true), g.sub(dIn, g.scalar(1)));
  const deviation = g.op('Sqrt', [variance]);
  return {
    inner: g.div(centred, g.add(deviation, g.scalar(LAYER_NORM_EPSILON))),
    restore: (xHat) => g.add(g.mul(xHat, deviation), mean),
  };
}
