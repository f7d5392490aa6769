import type { GraphBuilder, Value } from '../onnx/graph.js';
import { type HookFunction, type HookOfBlock, type HookSite, hookOutside, noHook } from './hooks.js';
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
 * The same, with its value before the weight exposed at a hook: x / √(mean x² + ε), float32. If the hook replaces it,
 * the weight is applied to the replacement; otherwise the norm stays a single operator.
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

/**
 * A norm outside the blocks (before the unembedding) whose value before the weight may be hooked and replaced. Its hook
 * is called along with the rest of the residual stream, and the result is used where the norm is applied.
 */
export class FinalNorm {
  private shown: { readonly x: Value; readonly normalised: Value } | null = null;

  /** @param norm the complete norm of x, which calls a hook at ln_final.hook_normalized */
  constructor(private readonly norm: (x: Value, hook: HookOfBlock) => Value) {}

  /** Exposes the norm of x at its hook; returns x. */
  show(x: Value, hook: HookFunction): Value {
    const outside = hookOutside(hook);
    if (outside.actsOn('ln_final.hook_normalized')) this.shown = { x, normalised: this.norm(x, outside) };
    return x;
  }

  of(x: Value): Value {
    return this.shown?.x === x ? this.shown.normalised : this.norm(x, hookOutside(noHook));
  }
}

/** w of a norm, [width]. */
export function normWeight(writer: ModelWriter, name: string, { offset }: Pick<RmsNorm, 'offset'>): Value {
  const { g } = writer;
  const stored = writer.weight(name, 'float32');
  return offset ? g.add(stored, g.scalar(1)) : stored;
}

/** x without its mean over the last dimension. */
export function centred(g: GraphBuilder, x: Value): Value {
  return g.sub(x, g.op('ReduceMean', [x, g.ints(-1)], { keepdims: 1 }));
}

/** Names of a layer norm's weight and bias, [width] both. */
interface LayerNorm {
  readonly weight: string;
  readonly bias: string;
  readonly epsilon: number;
  readonly width: number;
}

/**
 * Layer norm (Ba et al. 2016, arXiv 1607.06450): (x − mean x) / √(var x + ε) · w + b over the last dimension, float32;
 * its value before w and b is exposed at a hook.
 *
 * @param x float32 [..., width]
 */
export function hookedLayerNorm(
  writer: ModelWriter,
  x: Value,
  { weight, bias, epsilon, width }: LayerNorm,
  [hook, site]: readonly [HookOfBlock, HookSite],
): Value {
  const { g } = writer;
  const attributes = { axis: -1, epsilon: { float: epsilon } };
  const [w, b] = [writer.weight(weight, 'float32'), writer.weight(bias, 'float32')];
  if (hook.actsOn(site)) {
    const ones = g.table(`${weight}/ones`, [width], new Float32Array(width).fill(1));
    const normalised = g.op('LayerNormalization', [x, ones], attributes);
    const hooked = hook(site, normalised);
    if (hooked !== normalised) return g.add(g.mul(hooked, w), b);
  }
  return g.op('LayerNormalization', [x, w, b], attributes);
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
  gelu: (g: GraphBuilder, x: Value) => g.op('Gelu', [x], { approximate: 'none' }),
  /** GELU by its tanh approximation. */
  geluTanh: (g: GraphBuilder, x: Value) => g.op('Gelu', [x], { approximate: 'tanh' }),
  silu: (g: GraphBuilder, x: Value) => g.mul(x, g.op('Sigmoid', [x])),
};

export type Activation = keyof typeof ACTIVATIONS;

/**
 * A gated MLP: its activation function, and the names of its matrices, each `NAME.weight` with or without `NAME.bias`.
 */
interface GatedMlp {
  readonly gate: string;
  readonly up: string;
  readonly down: string;
  readonly activation: Activation;
  readonly biases: boolean;
}

/**
 * W_down (act(W_gate x) ⊙ W_up x) (Shazeer 2020, arXiv 2002.05202), with a bias after each matrix that has one.
 *
 * @param x [..., hidden], in the precision of the products
 * @param hook called with the sites mlp.hook_pre, mlp.hook_pre_linear and mlp.hook_post
 * @returns float32 [..., hidden]
 */
export function gatedMlp(
  writer: ModelWriter,
  x: Value,
  { gate, up, down, activation, biases }: GatedMlp,
  hook: HookOfBlock,
): Value {
  const { g } = writer;
  const linear = (input: Value, name: string) =>
    writer.linear(input, `${name}.weight`, biases ? `${name}.bias` : undefined);
  const pre = writer.hookBetween(hook, 'mlp.hook_pre', linear(x, gate));
  const activated = writer.narrow(ACTIVATIONS[activation](g, writer.wide(pre)));
  const ungated = writer.hookBetween(hook, 'mlp.hook_pre_linear', linear(x, up));
  const post = writer.hookBetween(hook, 'mlp.hook_post', g.mul(activated, ungated));
  return writer.wide(linear(post, down));
}

/** A value of a plain MLP after one matrix and bias. */
type Linear = (x: Value) => Value;

/**
 * W_out act(W_in x), each matrix with its bias.
 *
 * @param x [..., hidden], in the precision of the products
 * @param hook called with the sites mlp.hook_pre and mlp.hook_post
 * @returns float32 [..., hidden]
 */
export function plainMlp(
  writer: ModelWriter,
  x: Value,
  mlp: { readonly into: Linear; readonly out: Linear; readonly activation: Activation },
  hook: HookOfBlock,
): Value {
  const pre = writer.hookBetween(hook, 'mlp.hook_pre', mlp.into(x));
  const activated = writer.narrow(ACTIVATIONS[mlp.activation](writer.g, writer.wide(pre)));
  return writer.wide(mlp.out(writer.hookBetween(hook, 'mlp.hook_post', activated)));
}
