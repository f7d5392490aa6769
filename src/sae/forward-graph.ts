import type { GraphBuilder, Value } from '../onnx/graph.js';
import { asFloat32, storedWeight } from '../onnx/weight.js';
import { centredInput, decode, decoderNorms, type ParameterValues } from './architecture.js';
import { ARCHITECTURES, parametersOf } from './registry.js';
import { type ArchitectureName, type ForwardSettings, PLAIN } from './sae.js';
import type { SaeFiles } from './saelens.js';

/** The settings of an SAE that its forward pass needs. */
export interface ForwardForm {
  readonly architecture: ArchitectureName;
  readonly transcoder?: true;
  readonly skip?: true;
  /** PLAIN if absent. */
  readonly forward?: ForwardSettings;
}

/** Parameters of an SAE read from its file, in float32; their names in the graph start with `prefix`. */
export function storedParameters(g: GraphBuilder, sae: SaeFiles, prefix: string): ParameterValues {
  const w: ParameterValues = {};
  for (const name of parametersOf(sae)) {
    const location = sae.tensors[name]!;
    w[name] = asFloat32(g, storedWeight(g, `${prefix}${name}`, location), location);
  }
  return w;
}

/** Feature activations f [tokens, d_sae] and the reconstruction x̂ [tokens, d_out] of x [tokens, d_in]. */
export function forward(g: GraphBuilder, sae: ForwardForm, w: ParameterValues, x: Value): { f: Value; xHat: Value } {
  const settings = sae.forward ?? PLAIN;
  const { inner, restore } = normalized(g, settings.normalize_activations, x);
  const input = settings.apply_b_dec_to_input
    ? centredInput(g, w, inner)
    : { input: inner, p: g.matmul(inner, w.W_enc!) };
  const f = ARCHITECTURES[sae.architecture].encode(g, w, input, settings);
  const reconstruction = decodeFeatures(g, sae, w, f);
  // SAELens never denormalises the output of a transcoder, which belongs to another hook. A skip connection reads the
  // original x.
  if (!sae.transcoder) return { f, xHat: restore(reconstruction) };
  return { f, xHat: sae.skip ? g.add(reconstruction, skipped(g, w, x)) : reconstruction };
}

/** Decodes features f [tokens, d_sae] to [tokens, d_out], before denormalisation or a skip connection. */
export function decodeFeatures(g: GraphBuilder, sae: ForwardForm, w: ParameterValues, f: Value): Value {
  return decode(g, w, sae.forward?.rescale_acts_by_decoder_norm ? g.div(f, decoderNorms(g, w)) : f);
}

/** x W_skipᵀ, [tokens, d_out]. */
export function skipped(g: GraphBuilder, w: ParameterValues, x: Value): Value {
  return g.matmul(x, w.W_skip!, { transB: true });
}

/** SAELens's ε in its layer norm: added to the standard deviation, not under the root. */
const LAYER_NORM_EPSILON = 1e-5;

/**
 * The normalised x [tokens, d_in], token by token, and the function that denormalises its output, or the difference of
 * two outputs for the same x, following SAELens's `normalize_activations` (sae_lens/saes/sae.py, 6.54).
 */
export function normalized(
  g: GraphBuilder,
  kind: ForwardSettings['normalize_activations'],
  x: Value,
): { inner: Value; restore: (xHat: Value) => Value; restoreStep: (step: Value) => Value } {
  if (kind === 'none') return { inner: x, restore: (xHat) => xHat, restoreStep: (step) => step };
  const dIn = g.cast(g.op('Slice', [g.op('Shape', [x]), g.ints(1), g.ints(2)]), 'float32');
  if (kind === 'constant_norm_rescale') {
    // x √d_in / |x|
    const norm = g.op('Sqrt', [g.reduceSumSquare(x, [1], true)]);
    const factor = g.div(g.op('Sqrt', [dIn]), norm);
    const restore = (xHat: Value) => g.div(xHat, factor);
    return { inner: g.mul(x, factor), restore, restoreStep: restore };
  }
  // (x − μ) / (σ + ε), σ with d_in − 1; denormalised without ε
  const mean = g.op('ReduceMean', [x, g.ints(1)], { keepdims: 1 });
  const centred = g.sub(x, mean);
  const variance = g.div(g.reduceSumSquare(centred, [1], true), g.sub(dIn, g.scalar(1)));
  const deviation = g.op('Sqrt', [variance]);
  return {
    inner: g.div(centred, g.add(deviation, g.scalar(LAYER_NORM_EPSILON))),
    restore: (xHat) => g.add(g.mul(xHat, deviation), mean),
    restoreStep: (step) => g.mul(step, deviation),
  };
}
