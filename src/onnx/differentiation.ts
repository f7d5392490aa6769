import type { GraphBuilder, Value } from './graph.js';
import type { NodeProto } from './onnx_pb.js';
import { broadcast, intAttribute, NoGradient, type Shape, Shapes, sameShape } from './shapes.js';

/**
 * A part of the gradient with respect to a value: `factor` times `value` or `product`, 1 without either. Its shape is
 * the value's, or one that broadcasts to it: the gradient of a sum is one number, and stays one until it meets an
 * array.
 */
export interface GradientPart {
  readonly factor: number;
  readonly shape: Shape;
  readonly value?: Value;
  /** gradient · matrix, or gradient · matrixᵀ: if only its sum over rows is needed, rows are summed first. */
  readonly product?: { readonly gradient: Value; readonly matrix: Value; readonly transposed: boolean };
}

/**
 * Gradients with respect to a node's operands (undefined if there is none), from the gradient with respect to its
 * output.
 */
export type GradientRule = (
  d: Differentiation,
  made: NodeProto,
  parts: readonly GradientPart[],
) => readonly (readonly GradientPart[] | undefined)[];

/** Operators whose output does not depend on their operands, or only by jumps. */
const CONSTANT = new Set('Greater GreaterOrEqual Less Equal Not And Or Shape ConstantOfShape'.split(' '));

/** State of the differentiation of a graph. */
export class Differentiation {
  readonly shapes: Shapes;
  private readonly parts = new Map<string, GradientPart[]>();
  /** Values that depend on `wrt` differentiably. */
  private readonly active: Set<string>;

  constructor(
    readonly g: GraphBuilder,
    wrt: readonly Value[],
    private readonly rules: Readonly<Record<string, GradientRule>>,
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

  partsOf(value: string): readonly GradientPart[] {
    return this.parts.get(value) ?? [];
  }

  isActive(value: string): boolean {
    return this.active.has(value);
  }

  /** Adds parts of the gradient with respect to a value, which broadcasting may have enlarged. */
  give(value: string, parts: readonly GradientPart[]): void {
    if (!this.active.has(value)) return;
    const list = this.parts.get(value) ?? [];
    this.parts.set(value, list);
    for (const part of parts) list.push(part);
  }

  /** Propagates the gradient with respect to a node's output to its operands. */
  through(made: NodeProto): void {
    // Of several outputs, only the first is differentiable (TopK).
    const output = made.output[0] as Value;
    const parts = this.merged(this.partsOf(output));
    if (parts.length === 0) return;
    const own = this.g.derivatives.get(output);
    // No gradient is needed before it.
    if (!(own ? own.inputs : made.input).some((operand) => this.active.has(operand))) return;
    if (own) {
      const inner = own.of(this.g, this.whole(parts, output));
      for (const [i, value] of inner.entries()) {
        const part = { factor: 1, value, shape: this.shapes.of(value) };
        this.give(own.inputs[i]!, [this.summedTo(part, this.shapes.of(own.inputs[i]!), part.shape)]);
      }
      return;
    }
    const rule = this.rules[made.opType];
    if (!rule) throw new NoGradient(`the operator ${made.opType} has no gradient here`);
    for (const [i, given] of rule(this, made, parts).entries()) {
      if (given === undefined || !this.active.has(made.input[i]!)) continue;
      this.give(made.input[i]!, given);
    }
  }

  /** Products are kept separate; the others are added up. */
  private merged(parts: readonly GradientPart[]): readonly GradientPart[] {
    const products = parts.filter(({ product }) => product);
    const rest = parts.filter(({ product }) => !product);
    return rest.length < 2 ? parts : [this.sum(rest), ...products];
  }

  /** Combines all parts; the result has the largest of their shapes. */
  sum(parts: readonly GradientPart[]): GradientPart {
    if (parts.length === 1 && !parts[0]!.product) return parts[0]!;
    const { g } = this;
    // Additions come before subtractions, so that nothing needs to be negated.
    const [first, ...rest] = [...parts].sort((a, b) => Math.sign(b.factor) - Math.sign(a.factor));
    let value = this.valueOf(first!);
    for (const part of rest) {
      const unsigned = this.valueOf({ ...part, factor: Math.abs(part.factor) });
      value = part.factor < 0 ? g.sub(value, unsigned) : g.add(value, unsigned);
    }
    return { factor: 1, value, shape: parts.map(({ shape }) => shape).reduce(broadcast) };
  }

  valueOf({ factor, value, product }: GradientPart): Value {
    const { g } = this;
    const unscaled = value ?? (product && g.matmul(product.gradient, product.matrix, { transB: product.transposed }));
    if (unscaled === undefined) return g.scalar(factor);
    if (factor === -1) return g.op('Neg', [unscaled]);
    return factor === 1 ? unscaled : g.mul(unscaled, g.scalar(factor));
  }

  /** The gradient with respect to `value`, in its full shape. */
  whole(parts: readonly GradientPart[], value: Value): Value {
    const sum = this.sum(parts);
    const array = this.valueOf(sum);
    return sameShape(sum.shape, this.shapes.of(value))
      ? array
      : this.g.op('Expand', [array, this.g.op('Shape', [value])]);
  }

  /** A part times a value. */
  times(part: GradientPart, value: Value, factor = 1): GradientPart {
    const shape = broadcast(part.shape, this.shapes.of(value));
    if (!part.value && !part.product) return { factor: part.factor * factor, value, shape: this.shapes.of(value) };
    const unscaled = this.valueOf({ ...part, factor: 1 });
    return { factor: part.factor * factor, value: this.g.mul(unscaled, value), shape };
  }

  /**
   * A part of the gradient with respect to something of shape `from`, summed over the axes that broadcasting an operand
   * of shape `to` added.
   */
  summedTo(part: GradientPart, to: Shape, from: Shape): GradientPart {
    const added = from.length - to.length;
    const axes = from.flatMap((dim, axis) => (axis < added || (to[axis - added] === 1 && dim !== 1) ? [axis] : []));
    if (axes.length === 0) return part;
    if (part.product && from.length === 2 && to.length === 1 && axes.length === 1) return this.rowSum(part, to);
    // If the part is constant along an axis, its sum is that constant times the length.
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

  /** Sums over `axes`; those in `lost` are dropped, the others keep length 1. */
  private reduced(value: Value, axes: readonly number[], lost: readonly number[]): Value {
    const kept = axes.filter((axis) => !lost.includes(axis));
    const within = kept.length > 0 ? this.g.reduceSum(value, kept, true) : value;
    return lost.length > 0 ? this.g.reduceSum(within, lost) : within;
  }

  /** Σ over rows of gradient · matrix: one vector product instead of an array that is only summed. */
  private rowSum({ factor, product }: GradientPart, to: Shape): GradientPart {
    const { gradient, matrix, transposed } = product!;
    const rows = this.g.reduceSum(gradient, [0]);
    return { factor, shape: to, value: transposed ? this.g.matmul(matrix, rows) : this.g.matmul(rows, matrix) };
  }

  length(dim: Shape[number]): number {
    if (typeof dim === 'number') return dim;
    throw new NoGradient(`a gradient is summed over ${dim}, whose length is not known`);
  }

  /** Parts of the gradient with respect to a node's output, for operand `i`. */
  towards(made: NodeProto, i: number, parts: readonly GradientPart[]): GradientPart[] {
    const [to, from] = [this.shapes.of(made.input[i]!), this.shapes.of(made.output[0]!)];
    return parts.map((part) => this.summedTo(part, to, from));
  }

  /** The part with the axes removed by a Reduce… restored with length 1. */
  unreduced(made: NodeProto, part: GradientPart): GradientPart {
    if (intAttribute(made, 'keepdims', 1) === 1 || part.shape.length === 0) return part;
    const [axes, out] = [this.shapes.axes(made), this.shapes.of(made.output[0]!)];
    const padded = [...Array(out.length - part.shape.length).fill(1), ...part.shape] as number[];
    const shape = this.shapes.of(made.input[0]!).map((_, axis) => (axes.includes(axis) ? 1 : padded.shift()!));
    const value = this.g.reshape(this.valueOf({ ...part, factor: 1 }), ...shape.map((dim) => this.length(dim)));
    return { factor: part.factor, value, shape };
  }
}

/** The gradient with respect to an operand, if needed. */
export function needed(d: Differentiation, made: NodeProto, i: number, parts: () => readonly GradientPart[]) {
  return d.isActive(made.input[i]!) ? parts() : undefined;
}
