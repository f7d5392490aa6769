import type { GraphBuilder, Value } from '../onnx/graph.js';
import { decoderNorms, type ParameterValues } from './architecture.js';
import { forward, normalized } from './forward-graph.js';
import { ARCHITECTURES, parametersOf } from './registry.js';
import { PLAIN, parameterShape } from './sae.js';
import type { SaeFiles } from './saelens.js';

// Changes of SAE features within a running model.

/**
 * f of chosen features, [tokens, n]. If features do not compete, only these are computed.
 *
 * @param features feature numbers, int64 [n]
 * @param x activation the SAE reads, [tokens, d_in]
 */
export function chosenFeatures(g: GraphBuilder, sae: SaeFiles, w: ParameterValues, features: Value, x: Value): Value {
  if (ARCHITECTURES[sae.architecture].competes) return g.gather(forward(g, sae, w, x).f, features, 1);
  const { dSae } = sae;
  const chosen = parametersOf(sae).map((name) => {
    const axis = name === 'b_dec' || name === 'W_skip' ? -1 : parameterShape(name, sae).lastIndexOf(dSae);
    const ofFeatures = name === 'W_dec' ? 0 : axis;
    return [name, ofFeatures < 0 ? w[name]! : g.gather(w[name]!, features, ofFeatures)] as const;
  });
  return forward(g, sae, Object.fromEntries(chosen), x).f;
}

/**
 * The effect of a change of chosen features on the hook: (f′ − f) W_dec, [tokens, d_out].
 *
 * @param features feature numbers, int64 [n]
 * @param more f′ − f, [tokens, n]
 * @param x activation the SAE reads, [tokens, d_in]
 */
export function decodedStep(
  g: GraphBuilder,
  sae: SaeFiles,
  w: ParameterValues,
  { features, more, x }: { readonly features: Value; readonly more: Value; readonly x: Value },
): Value {
  const { rescale_acts_by_decoder_norm, normalize_activations } = sae.forward ?? PLAIN;
  const step = rescale_acts_by_decoder_norm ? g.div(more, g.gather(decoderNorms(g, w), features)) : more;
  const decoded = g.reshape(g.matmul(step, g.gather(w.W_dec!, features)), -1, sae.dOut);
  return sae.transcoder ? decoded : normalized(g, normalize_activations, x).restoreStep(decoded);
}

/**
 * The gradient with respect to features, from that with respect to the hook: (∂/∂value) W_decᵀ, [tokens, d_sae].
 *
 * @param gradient with respect to the hook's value, [tokens, d_out]
 * @param x activation the SAE reads, [tokens, d_in]
 */
export function decodedGradient(g: GraphBuilder, sae: SaeFiles, w: ParameterValues, gradient: Value, x: Value): Value {
  const { rescale_acts_by_decoder_norm, normalize_activations } = sae.forward ?? PLAIN;
  // Undoing the normalisation multiplies each token by a number, and so does its transpose.
  const inner = sae.transcoder ? gradient : normalized(g, normalize_activations, x).restoreStep(gradient);
  const product = g.matmul(inner, w.W_dec!, { transB: true });
  return rescale_acts_by_decoder_norm ? g.div(product, decoderNorms(g, w)) : product;
}
