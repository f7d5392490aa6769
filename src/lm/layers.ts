import type { GraphBuilder, Value } from '../onnx/graph.js';
import type { HookOfBlock, HookSite } from './hooks.js';
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
export function rmsNorm(writer: ModelWriter, x: Value, name: string, norm: RmsNorm): Value {
  const scale = normWeight(writer, name, norm);
  return writer.g.op('RMSNormalization', [x, scale], { axis: -1, epsilon: { float: norm.epsilon } });
}

/**
 * The same, its value before the weight shown at a hook: x / √(mean x² + ε), float32. Where that is replaced, its
 * replacement is weighted, else the norm stays one operator.
 */
export function hookedRmsNorm(
  writer: ModelWriter,
  x: Value,
  name: string,
  norm: RmsNorm & { readonly width: number },
  [hook, site]: readonly [HookOfBlock, HookSite],
): Value {
  const { g } = writer;
  if (hook.actsOn(site)) {
    const ones = g.table(`${name}/ones`, [norm.width], new Float32Array(norm.width).fill(1));
    const normalised = g.op('RMSNormalization', [x, ones], { axis: -1, epsilon: { float: norm.epsilon } });
    const hooked = hook(site, normalised);
    if (hooked !== normalised) return g.mul(hooked, normWeight(writer, name, norm));
  }
  return rmsNorm(writer, x, name, norm);
}

/** w of a norm, [width]. */
export function normWeight(writer: ModelWriter, name: string, { offset }: Pick<RmsNorm, 'offset'>): Value {
  const { g } = writer;
  const stored = writer.weight(name, 'float32');
  return offset ? g.add(stored, g.scalar(1)) : stored;
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

/** Activation functions, of float32. */
const ACTIVATIONS = {
  /** GELU by its tanh approximation. */
  geluTanh: (g: GraphBuilder, x: Value) => g.op('Gelu', [x], { approximate: 'tanh' }),
};

/** A gated MLP: its activation function, and names of its matrices. */
interface GatedMlp {
  readonly gate: string;
  readonly up: string;
  readonly down: string;
  readonly activation: keyof typeof ACTIVATIONS;
}

/**
 * W_down (act(W_gate x) ⊙ W_up x) (Shazeer 2020, arXiv 2002.05202).
 *
 * @param x [..., hidden], in the precision of the products
 * @param hook called with the sites mlp.hook_pre, mlp.hook_pre_linear and mlp.hook_post
 * @returns float32 [..., hidden]
 */
export function gatedMlp(
  writer: ModelWriter,
  x: Value,
  { gate, up, down, activation }: GatedMlp,
  hook: HookOfBlock,
): Value {
  const { g } = writer;
  const pre = writer.hookBetween(hook, 'mlp.hook_pre', writer.linear(x, gate));
  const activated = writer.narrow(ACTIVATIONS[activation](g, writer.wide(pre)));
  const linear = writer.hookBetween(hook, 'mlp.hook_pre_linear', writer.linear(x, up));
  const post = writer.hookBetween(hook, 'mlp.hook_post', g.mul(activated, linear));
  return writer.wide(writer.linear(post, down));
}
