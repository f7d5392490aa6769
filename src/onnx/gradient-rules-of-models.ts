import type { Differentiation, GradientPart, GradientRule } from './differentiation.js';
import { entrywise } from './gradient-rules.js';
import type { GraphBuilder, Value } from './graph.js';
import type { NodeProto } from './onnx_pb.js';
import { intAttribute, NoGradient, type Shape } from './shapes.js';

// Rules for the operators of language models beyond those of losses: float32 on a CPU.

const attributeOf = ({ attribute }: NodeProto, name: string) => attribute.find((one) => one.name === name);

const number = (made: NodeProto, name: string) => attributeOf(made, name)?.f ?? Number.NaN;

/** A gradient that is an array. */
const array = (value: Value, shape: Shape): GradientPart[] => [{ factor: 1, value, shape }];

const mean = (g: GraphBuilder, x: Value) => g.op('ReduceMean', [x, g.ints(-1)], { keepdims: 1 });

/** 1 / √(mean x² + ε) over the last dimension. */
const inverseNorm = (g: GraphBuilder, x: Value, epsilon: number) =>
  g.div(g.scalar(1), g.op('Sqrt', [g.add(mean(g, g.mul(x, x)), g.scalar(epsilon))]));

/**
 * The gradient with respect to x of x r with r = inverseNorm(x), given that with respect to x r: r (d − n mean(d n)), n
 * = x r.
 */
function throughNorm(g: GraphBuilder, x: Value, r: Value, d: Value): Value {
  const n = g.mul(x, r);
  return g.mul(r, g.sub(d, g.mul(n, mean(g, g.mul(d, n)))));
}

const SQRT_2_OVER_PI = Math.sqrt(2 / Math.PI);
const CUBIC = 0.044715;

/** Derivative of GELU with the tanh approximation, ½ x (1 + tanh u) with u = √(2/π) (x + c x³). */
function geluTanhDerivative(g: GraphBuilder, x: Value): Value {
  const squared = g.mul(x, x);
  const inner = g.mul(x, g.add(g.scalar(1), g.mul(squared, g.scalar(CUBIC))));
  const t = g.op('Tanh', [g.mul(inner, g.scalar(SQRT_2_OVER_PI))]);
  const slope = g.mul(g.add(g.scalar(1), g.mul(squared, g.scalar(3 * CUBIC))), g.scalar(SQRT_2_OVER_PI));
  const sech = g.sub(g.scalar(1), g.mul(t, t));
  return g.mul(g.scalar(0.5), g.add(g.add(g.scalar(1), t), g.mul(g.mul(x, sech), slope)));
}

/** Derivative of GELU, x Φ(x): Φ(x) + x φ(x). */
function geluDerivative(g: GraphBuilder, x: Value): Value {
  const phi = g.op('Exp', [g.mul(g.mul(x, x), g.scalar(-0.5))]);
  const cumulative = g.mul(g.add(g.op('Erf', [g.mul(x, g.scalar(Math.SQRT1_2))]), g.scalar(1)), g.scalar(0.5));
  return g.add(cumulative, g.mul(g.mul(x, phi), g.scalar(1 / Math.sqrt(2 * Math.PI))));
}

/** y ∘ (d − Σ y ∘ d), for y a softmax over the last of `rank` dimensions. */
function throughSoftmax(g: GraphBuilder, y: Value, d: Value, rank: number): Value {
  return g.mul(y, g.sub(d, g.reduceSum(g.mul(y, d), [rank - 1], true)));
}

/** x with zeros before and after it along an axis. */
function padded(
  g: GraphBuilder,
  x: Value,
  rank: number,
  axis: number,
  [before, after]: readonly [number, number],
): Value {
  const along = (count: number) => Array.from({ length: rank }, (_, i) => (i === axis ? count : 0));
  return g.op('Pad', [x, g.ints(...along(before), ...along(after))]);
}

export const MODEL_RULES: Readonly<Record<string, GradientRule>> = {
  Sigmoid: entrywise((g, { output }) => {
    const y = output[0] as Value;
    return g.mul(y, g.sub(g.scalar(1), y));
  }),
  Gelu: entrywise((g, made) => {
    const approximate = new TextDecoder().decode(attributeOf(made, 'approximate')?.s);
    return (approximate === 'tanh' ? geluTanhDerivative : geluDerivative)(g, made.input[0] as Value);
  }),
  Softmax: (d, made, parts) => {
    const y = made.output[0] as Value;
    const shape = d.shapes.of(y);
    return [array(throughSoftmax(d.g, y, d.whole(parts, y), shape.length), shape)];
  },
  RMSNormalization: (d, made, parts) => {
    const [x, w] = made.input as [Value, Value];
    const r = inverseNorm(d.g, x, number(made, 'epsilon'));
    const gradient = d.g.mul(d.whole(parts, made.output[0] as Value), w);
    return [array(throughNorm(d.g, x, r, gradient), d.shapes.of(x))];
  },
  LayerNormalization: (d, made, parts) => {
    const { g } = d;
    const [x, w] = made.input as [Value, Value];
    const centred = g.sub(x, mean(g, x));
    const gradient = g.mul(d.whole(parts, made.output[0] as Value), w);
    const inner = throughNorm(g, centred, inverseNorm(g, centred, number(made, 'epsilon')), gradient);
    return [array(g.sub(inner, mean(g, inner)), d.shapes.of(x))];
  },
  // A rotation's transpose is its inverse.
  RotaryEmbedding: (d, made, parts) => {
    const [x, cos, sin, positions] = made.input as [Value, Value, Value, Value];
    const rotated = intAttribute(made, 'rotary_embedding_dim', 0);
    const attributes = {
      num_heads: intAttribute(made, 'num_heads', 0),
      ...(rotated > 0 && { rotary_embedding_dim: rotated }),
    };
    const inputs = [d.whole(parts, made.output[0] as Value), cos, d.g.op('Neg', [sin]), positions];
    return [array(d.g.op('RotaryEmbedding', inputs, attributes), d.shapes.of(x))];
  },
  Slice: (d, made, parts) => {
    const shape = d.shapes.of(made.input[0]!);
    const { axis, from, to } = d.shapes.bounds(made);
    const gradient = d.whole(parts, made.output[0] as Value);
    return [array(padded(d.g, gradient, shape.length, axis, [from, d.length(shape[axis]!) - to]), shape)];
  },
  Tile: (d, made, parts) => {
    if (d.shapes.ints(made.input[1]!).some((times) => times !== 1))
      throw new NoGradient('a value repeated has no gradient here');
    return [parts];
  },
  // A single entry along an axis.
  Gather: (d, made, parts) => {
    const [data, index] = made.input as [Value, Value];
    const shape = d.shapes.of(data);
    if (d.shapes.of(index).length > 0) throw new NoGradient('a choice of several rows has no gradient here');
    const axis = intAttribute(made, 'axis', 0);
    const length = d.length(shape[axis]!);
    const at = (d.shapes.ints(index)[0]! + length) % length;
    const one = shape.map((dim, i) => (i === axis ? 1 : d.length(dim)));
    const gradient = d.g.reshape(d.whole(parts, made.output[0] as Value), ...one);
    return [array(padded(d.g, gradient, shape.length, axis, [at, length - 1 - at]), shape)];
  },
  Concat: (d, made, parts) => {
    const gradient = d.whole(parts, made.output[0] as Value);
    const shapes = made.input.map((one) => d.shapes.of(one));
    const axis = (intAttribute(made, 'axis', 0) + shapes[0]!.length) % shapes[0]!.length;
    let from = 0;
    return shapes.map((shape) => {
      const to = from + d.length(shape[axis]!);
      const part = array(d.g.slice(gradient, from, to, axis), shape);
      from = to;
      return part;
    });
  },
  Attention: attention,
};

/**
 * Attention of queries [batch, rows, heads × size] to keys and values [batch, columns, kvHeads × size], with a mask
 * [rows, columns].
 */
function attention(d: Differentiation, made: NodeProto, parts: readonly GradientPart[]) {
  const { g } = d;
  const [q, k, v, mask] = made.input as [Value, Value, Value, Value | undefined];
  if (!mask || attributeOf(made, 'softcap') || intAttribute(made, 'is_causal', 0) === 1) {
    throw new NoGradient('attention of this form has no gradient here');
  }
  const [heads, kvHeads] = [intAttribute(made, 'q_num_heads', 0), intAttribute(made, 'kv_num_heads', 0)];
  const [rows, columns] = [d.length(d.shapes.of(q)[1]!), d.length(d.shapes.of(k)[1]!)];
  const size = d.length(d.shapes.of(q)[2]!) / heads;
  const group = heads / kvHeads;
  // Heads that share a key are rows of one product.
  const byHead = (x: Value) => {
    const apart = g.op('Transpose', [g.reshape(x, -1, rows, kvHeads, group, size)], { perm: [0, 2, 3, 1, 4] });
    return g.reshape(apart, -1, kvHeads, group * rows, size);
  };
  const keysByHead = (x: Value) =>
    g.op('Transpose', [g.reshape(x, -1, columns, kvHeads, size)], { perm: [0, 2, 1, 3] });
  const [queries, keys, values] = [byHead(q), keysByHead(k), keysByHead(v)];
  const out = byHead(d.whole(parts, made.output[0] as Value));
  const scale = g.scalar(number(made, 'scale'));
  const scores = g.reshape(g.mul(g.matmul(queries, keys, { transB: true }), scale), -1, kvHeads, group, rows, columns);
  const hidden = g.op('Where', [mask, g.scalar(0), g.scalar(-1e30)]);
  const weights = g.reshape(
    g.op('Softmax', [g.add(scores, hidden)], { axis: -1 }),
    ...[-1, kvHeads, group * rows, columns],
  );
  const toScores = g.mul(throughSoftmax(g, weights, g.matmul(out, values, { transB: true }), 4), scale);
  const apart = g.reshape(g.matmul(toScores, keys), -1, kvHeads, group, rows, size);
  const toQueries = g.op('Transpose', [apart], { perm: [0, 3, 1, 2, 4] });
  const back = (x: Value) => g.reshape(g.op('Transpose', [x], { perm: [0, 2, 1, 3] }), -1, columns, kvHeads * size);
  return [
    array(g.reshape(toQueries, -1, rows, heads * size), d.shapes.of(q)),
    array(back(g.matmul(toScores, queries, { transA: true })), d.shapes.of(k)),
    array(back(g.matmul(weights, out, { transA: true })), d.shapes.of(v)),
  ];
}
