import type { Value } from '../onnx/graph.js';
import type { ModelWriter } from './model-writer.js';

/** An RMS norm (Zhang and Sennrich 2019, arXiv 1910.07467). */
interface RmsNorm {
  readonly epsilon: number;
  /** Weights are stored as offsets from 1. */
  readonly offset: boolean;
}

/**
 * x / √(mean x² + ε) · w over the last dimension.
 *
 * @param x float32 [..., width]
 * @param name of the weights w, [width]
 */
export function rmsNorm(writer: ModelWriter, x: Value, name: string, { epsilon, offset }: RmsNorm): Value {
  const { g } = writer;
  const stored = writer.weight(name, 'float32');
  const scale = offset ? g.add(stored, g.scalar(1)) : stored;
  return g.op('RMSNormalization', [x, scale], { axis: -1, epsilon: { float: epsilon } });
}

/** The same over each head of x, float32 [batch, context, heads × headDim]. */
export function headNorm(
  writer: ModelWriter,
  x: Value,
  name: string,
  { heads, headDim, ...norm }: RmsNorm & { readonly heads: number; readonly headDim: number },
): Value {
  const { g, context } = writer;
  const byHead = g.reshape(x, -1, context, heads, headDim);
  return g.reshape(rmsNorm(writer, byHead, name, norm), -1, context, heads * headDim);
}
