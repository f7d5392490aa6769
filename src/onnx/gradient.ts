import type { GraphBuilder, Value } from './graph.js';
import type { NodeProto } from './onnx_pb.js';
import { broadcast, intAttribute, type Shape, Shapes, sameShape, zerosLike } from './shapes.js';

/**
 * Part of the gradient in a value: `factor` times what `value` or `product` says, 1 without either. Its shape is the
 * value's, or one that broadcasts to it: the gradient of a sum is one number, and stays one until it meets an array.
 */
interface Part {
  readonly factor: number;
  readonly shape: Shape;
  readonly value?: Value;
  /** gradient · matrix, or gradient · matrixᵀ: where only its sum over rows is wanted, rows are summed first. */
  readonly product?: { readonly gradient: Value; readonly matrix: Value; readonly transposed: boolean };
}

/** Gradients in the operands of a node, undefined where there is none, from the gradient in what it made. */
type Rule = (d: Differentiation, made: NodeProto, parts: readonly Part[]) => readonly (readonly Part[] | undefined)[];

/** Results do not change with their operands, or by jumps. */
const CONSTANT = new Set('Greater GreaterOrEqual Less Equal Not And Or Shape ConstantOfShape'.split(' '));

/**
 * Reverse-mode differentiation: writes the gradient of a scalar in `wrt` into the graph that computes it. Values made by
 * `stopGradient` are constants, and those of `withDerivative` have the derivative that was given.
 *
 * @returns by value, of its shape; what the scalar does not depend on is absent
 * @throws Error naming an operator that has no rule
 */
export function gradients(g: GraphBuilder, of: Value, wrt: readonly Value[]): Map<Value, Value> {
  const d = new Differentiation(g, wrt);
  if (d.shapes.of(of).length > 0) throw new Error('only a scalar has a gradient');
  d.give(of, [{ factor: 1, shape: [] }]);
  for (const made of [...g.nodes].reverse()) d.through(made);
  const found = new Map<Value, Value>();
  for (const value of wrt) {
    const parts = d.partsOf(value);
    if (parts.length > 0) found.set(value, d.whole(parts, value));
  }
  return found;
}

class Differentiation {
  readonly shapes: Shapes;
  private readonly parts = new Map<string, Part[]>();
  /** Values that depend on `wrt` in a way that has a gradient. */
  private readonly active: Set<string>;

  constructor(
    readonly g: GraphBuilder,
    wrt: readonly Value[],
  ) {
    this.shapes = new Shapes(g);
    this.active = new Set(wrt);
    for (const made of g.nodes) {
      const own = g.derivatives.get(made.output[0] as Value);
      const operands = own ? own.inputs : made.input;
      if (CONSTANT.has(made.opType) || !operands.some((operand) => this.active.has(operand))) continue;
      for (const output of made.output) this.active.add(output);
    }
  }

  partsOf(value: string): readonly Part[] {
    return this.parts.get(value) ?? [];
  }

  isActive(value: string): boolean {
    return this.active.has(value);
  }

  /** Adds parts of the gradient in a value, which broadcasting may have enlarged. */
  give(value: string, parts: readonly Part[]): void {
    if (!this.active.has(value)) return;
    const list = this.parts.get(value) ?? [];
    this.parts.set(value, list);
    for (const part of parts) list.push(part);
  }

  /** Hands the gradient in what a node made on to its operands. */
  through(made: NodeProto): void {
    // Of several results only the first is differentiable (TopK).
    const output = made.output[0] as Value;
    const parts = this.merged(this.partsOf(output));
    if (parts.length === 0) return;
    const own = this.g.derivatives.get(output);
    if (own) {
      const inner = own.of(this.g, this.whole(parts, output));
      for (const [i, value] of inner.entries()) {
        const part = { factor: 1, value, shape: this.shapes.of(value) };
        this.give(own.inputs[i]!, [this.summedTo(part, this.shapes.of(own.inputs[i]!), part.shape)]);
      }
      return;
    }
    const rule = RULES[made.opType];
    if (!rule) throw new Error(`the operator ${made.opType} has no gradient here`);
    for (const [i, given] of rule(this, made, parts).entries()) {
      if (given === undefined || !this.active.has(made.input[i]!)) continue;
      this.give(made.input[i]!, given);
    }
  }

  /** Those that are products stay apart; the others are added up. */
  private merged(parts: readonly Part[]): readonly Part[] {
    const products = parts.filter(({ product }) => product);
    const rest = parts.filter(({ product }) => !product);
    return rest.length < 2 ? parts : [this.sum(rest), ...products];
  }

  /** One part for all; its shape is the largest among them. */
  sum(parts: readonly Part[]): Part {
    if (parts.length === 1 && !parts[0]!.product) return parts[0]!;
    const { g } = this;
    // What is added comes before what is subtracted, so that nothing is negated.
    const [first, ...rest] = [...parts].sort((a, b) => Math.sign(b.factor) - Math.sign(a.factor));
    let value = this.valueOf(first!);
    for (const part of rest) {
      const unsigned = this.valueOf({ ...part, factor: Math.abs(part.factor) });
      value = part.factor < 0 ? g.sub(value, unsigned) : g.add(value, unsigned);
    }
    return { factor: 1, value, shape: parts.map(({ shape }) => shape).reduce(broadcast) };
  }

  valueOf({ factor, value, product }: Part): Value {
    const { g } = this;
    const unscaled = value ?? (product && g.matmul(product.gradient, product.matrix, { transB: product.transposed }));
    if (unscaled === undefined) return g.scalar(factor);
    if (factor === -1) return g.op('Neg', [unscaled]);
    return factor === 1 ? unscaled : g.mul(unscaled, g.scalar(factor));
  }

  /** The gradient in `value`, of its whole shape. */
  whole(parts: readonly Part[], value: Value): Value {
    const sum = this.sum(parts);
    const array = this.valueOf(sum);
    return sameShape(sum.shape, this.shapes.of(value))
      ? array
      : this.g.op('Expand', [array, this.g.op('Shape', [value])]);
  }

  /** A part times a value. */
  times(part: Part, value: Value, factor = 1): Part {
    const shape = broadcast(part.shape, this.shapes.of(value));
    if (!part.value && !part.product) return { factor: part.factor * factor, value, shape: this.shapes.of(value) };
    const unscaled = this.valueOf({ ...part, factor: 1 });
    return { factor: part.factor * factor, value: this.g.mul(unscaled, value), shape };
  }

  /** A part of the gradient in something of shape `from`, summed over what broadcasting an operand of shape `to` added. */
  summedTo(part: Part, to: Shape, from: Shape): Part {
    const added = from.length - to.length;
    const axes = from.flatMap((dim, axis) => (axis < added || (to[axis - added] === 1 && dim !== 1) ? [axis] : []));
    if (axes.length === 0) return part;
    if (part.product && from.length === 2 && to.length === 1 && axes.length === 1) return this.rowSum(part, to);
    // Where the part is one number for an axis, its sum is that number times the length.
    const rank = part.shape.length;
    const extent = (axis: number) => part.shape[axis - from.length + rank] ?? 1;
    let { factor } = part;
    for (const axis of axes) if (extent(axis) === 1) factor *= this.length(from[axis]!);
    const inside = axes.map((axis) => axis - from.length + rank).filter((axis) => axis >= 0);
    if (inside.length === 0) return { ...part, factor };
    const lost = inside.filter((axis) => axis - rank + from.length < added);
    const value = this.reduced(this.valueOf({ ...part, factor: 1 }), inside, lost);
    const shape = part.shape.flatMap((dim, axis) => (lost.includes(axis) ? [] : [inside.includes(axis) ? 1 : dim]));
    return { factor, value, shape };
  }

  /** Sums over `axes`, of which `lost` are dropped and the others stay with length 1. */
  private reduced(value: Value, axes: readonly number[], lost: readonly number[]): Value {
    const kept = axes.filter((axis) => !lost.includes(axis));
    const within = kept.length > 0 ? this.g.reduceSum(value, kept, true) : value;
    return lost.length > 0 ? this.g.reduceSum(within, lost) : within;
  }

  /** Σ over rows of gradient · matrix: one product of a vector instead of an array that is only summed. */
  private rowSum({ factor, product }: Part, to: Shape): Part {
    const { gradient, matrix, transposed } = product!;
    const rows = this.g.reduceSum(gradient, [0]);
    return { factor, shape: to, value: transposed ? this.g.matmul(matrix, rows) : this.g.matmul(rows, matrix) };
  }

  length(dim: Shape[number]): number {
    if (typeof dim === 'number') return dim;
    throw new Error(`a gradient is summed over ${dim}, whose length is not known`);
  }

  /** Parts of the gradient in a node's result, for operand `i`. */
  towards(made: NodeProto, i: number, parts: readonly Part[]): Part[] {
    const [to, from] = [this.shapes.of(made.input[i]!), this.shapes.of(made.output[0]!)];
    return parts.map((part) => this.summedTo(part, to, from));
  }

  /** The part with the axes that a Reduce… took away as axes of length 1. */
  unreduced(made: NodeProto, part: Part): Part {
    if (intAttribute(made, 'keepdims', 1) === 1 || part.shape.length === 0) return part;
    const [axes, out] = [this.shapes.axes(made), this.shapes.of(made.output[0]!)];
    const padded = [...Array(out.length - part.shape.length).fill(1), ...part.shape] as number[];
    const shape = this.shapes.of(made.input[0]!).map((_, axis) => (axes.includes(axis) ? 1 : padded.shift()!));
    const value = this.g.reshape(this.valueOf({ ...part, factor: 1 }), ...shape.map((dim) => this.length(dim)));
    return { factor: part.factor, value, shape };
  }
}

const negated = (part: Part): Part => ({ ...part, factor: -part.factor });

/** Of an operator on single entries: the gradient times a value of the result's shape. */
const entrywise =
  (derivative: (g: GraphBuilder, made: NodeProto) => Value): Rule =>
  (d, made, parts) => [[d.times(d.sum(parts), derivative(d.g, made))]];

const RULES: Readonly<Record<string, Rule>> = {
  Identity: (_, __, parts) => [parts],
  Neg: (_, __, parts) => [parts.map(negated)],
  Add: (d, made, parts) => [0, 1].map((i) => needed(d, made, i, () => d.towards(made, i, parts))),
  Sub: (d, made, parts) => [
    needed(d, made, 0, () => d.towards(made, 0, parts)),
    needed(d, made, 1, () => d.towards(made, 1, parts.map(negated))),
  ],
  Mul: (d, made, parts) => {
    const part = d.sum(parts);
    return [0, 1].map((i) => needed(d, made, i, () => d.towards(made, i, [d.times(part, made.input[1 - i] as Value)])));
  },
  Div: (d, made, parts) => {
    const [b, quotient] = [made.input[1] as Value, made.output[0] as Value];
    const part = d.sum(parts);
    const shape = broadcast(part.shape, d.shapes.of(b));
    const over: Part = { factor: part.factor, value: d.g.div(d.valueOf({ ...part, factor: 1 }), b), shape };
    return [
      needed(d, made, 0, () => d.towards(made, 0, [over])),
      needed(d, made, 1, () => d.towards(made, 1, [d.times(over, quotient, -1)])),
    ];
  },
  Relu: entrywise((g, { output }) => g.positive(output[0] as Value)),
  Exp: entrywise((_, { output }) => output[0] as Value),
  Tanh: entrywise((g, { output }) => {
    const y = output[0] as Value;
    return g.sub(g.scalar(1), g.mul(y, y));
  }),
  Sqrt: entrywise((g, { output }) => g.div(g.scalar(0.5), output[0] as Value)),
  Where: (d, made, parts) => {
    const part = d.sum(parts);
    const [condition, value] = [made.input[0] as Value, d.valueOf({ ...part, factor: 1 })];
    const shape = broadcast(part.shape, d.shapes.of(condition));
    const chosen = (a: Value, b: Value): Part => ({
      factor: part.factor,
      shape,
      value: d.g.op('Where', [condition, a, b]),
    });
    return [
      undefined,
      needed(d, made, 1, () => d.towards(made, 1, [chosen(value, d.g.scalar(0))])),
      needed(d, made, 2, () => d.towards(made, 2, [chosen(d.g.scalar(0), value)])),
    ];
  },
  MatMul: product,
  FusedMatMul: product,
  ReduceSum: (d, made, parts) => [[d.unreduced(made, d.sum(parts))]],
  ReduceMean: (d, made, parts) => {
    const shape = d.shapes.of(made.input[0]!);
    const count = d.shapes.axes(made).reduce((length, axis) => length * d.length(shape[axis]!), 1);
    const part = d.unreduced(made, d.sum(parts));
    return [[{ ...part, factor: part.factor / count }]];
  },
  ReduceSumSquare: (d, made, parts) => [[d.times(d.unreduced(made, d.sum(parts)), made.input[0] as Value, 2)]],
  TopK: (d, made, parts) => {
    const [x, values, indices] = [made.input[0], ...made.output] as [Value, Value, Value];
    const axis = intAttribute(made, 'axis', -1);
    const value = d.g.op('ScatterElements', [zerosLike(d.g, x), indices, d.whole(parts, values)], { axis });
    return [[{ factor: 1, value, shape: d.shapes.of(x) }]];
  },
  ScatterElements: (d, made, parts) => {
    const [data, indices, updates] = made.input as [Value, Value, Value];
    const axis = intAttribute(made, 'axis', 0);
    const whole = d.whole(parts, made.output[0] as Value);
    return [
      needed(d, made, 0, () => {
        const value = d.g.op('ScatterElements', [whole, indices, zerosLike(d.g, updates)], { axis });
        return [{ factor: 1, value, shape: d.shapes.of(data) }];
      }),
      undefined,
      [{ factor: 1, value: d.g.op('GatherElements', [whole, indices], { axis }), shape: d.shapes.of(indices) }],
    ];
  },
  GatherElements: (d, made, parts) => {
    const [data, indices] = made.input as [Value, Value];
    const gradient = d.whole(parts, made.output[0] as Value);
    const attributes = { axis: intAttribute(made, 'axis', 0), reduction: 'add' };
    const value = d.g.op('ScatterElements', [zerosLike(d.g, data), indices, gradient], attributes);
    return [[{ factor: 1, value, shape: d.shapes.of(data) }]];
  },
  Transpose: (d, made, parts) => {
    const value = d.g.op('Transpose', [d.whole(parts, made.output[0] as Value)]);
    return [[{ factor: 1, value, shape: d.shapes.of(made.input[0]!) }]];
  },
  Reshape: (d, made, parts) => {
    const shape = d.shapes.of(made.input[0]!);
    const value = d.g.reshape(d.whole(parts, made.output[0] as Value), ...shape.map((dim) => d.length(dim)));
    return [[{ factor: 1, value, shape }]];
  },
};

/** The gradient in an operand, where it is wanted. */
function needed(d: Differentiation, made: NodeProto, i: number, parts: () => readonly Part[]) {
  return d.isActive(made.input[i]!) ? parts() : undefined;
}

/** C = A B, with either transposed: dA = dC Bᵀ and dB = Aᵀ dC, and their like. */
function product(d: Differentiation, made: NodeProto, parts: readonly Part[]) {
  const [a, b] = made.input as [Value, Value];
  const [transA, transB] = ['transA', 'transB'].map((name) => intAttribute(made, name, 0) === 1);
  if (transA) throw new Error('a product with its first factor transposed has no gradient here');
  const gradient = d.whole(parts, made.output[0] as Value);
  const shared = { factor: 1 };
  return [
    needed(d, made, 0, () => [
      { ...shared, shape: d.shapes.of(a), product: { gradient, matrix: b, transposed: !transB } },
    ]),
    needed(d, made, 1, () => {
      const value = transB ? d.g.matmul(gradient, a, { transA: true }) : d.g.matmul(a, gradient, { transA: true });
      return [{ ...shared, shape: d.shapes.of(b), value }];
    }),
  ];
}
