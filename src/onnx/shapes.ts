import type { GraphBuilder, Value } from './graph.js';
import type { Dim } from './messages.js';
import type { NodeProto } from './onnx_pb.js';

/** Dimensions of a tensor; a name stands for one known only at run time. */
export type Shape = readonly Dim[];

/**
 * A graph has no gradient here: there is no rule for an operator, a variant of one, or a shape. Any other error is a
 * bug.
 */
export class NoGradient extends Error {}

/** An integer attribute of a node. */
export function intAttribute({ attribute }: NodeProto, name: string, usual: number): number {
  const found = attribute.find((one) => one.name === name);
  return found ? Number(found.i) : usual;
}

/** A list of integers; undefined if the node has none. */
export function intsAttribute({ attribute }: NodeProto, name: string): number[] | undefined {
  return attribute.find((one) => one.name === name)?.ints.map(Number);
}

/** Shape inference for a graph's values, from its inputs and initializers, for the operators we use. */
export class Shapes {
  private readonly known = new Map<string, Shape>();

  constructor(private readonly g: GraphBuilder) {}

  /** @throws Error naming an operator whose output shape is unknown */
  of(value: string): Shape {
    let shape = this.known.get(value);
    if (!shape) {
      const made = this.g.nodes.find(({ output }) => output.includes(value));
      shape = made ? this.inferred(made) : this.given(value);
      this.known.set(value, shape);
    }
    return shape;
  }

  /** The values of an integer constant, or of something computed from shapes alone. */
  ints(value: string): number[] {
    const found = this.g.initializers.find(({ name }) => name === value);
    if (found) return found.int64Data.map(Number);
    const made = this.g.nodes.find(({ output }) => output[0] === value);
    if (made?.opType === 'Shape') {
      const shape = this.of(made.input[0]!);
      return shape.slice(intAttribute(made, 'start', 0), intAttribute(made, 'end', shape.length)).map(numberOf);
    }
    if (made?.opType === 'Concat') return made.input.flatMap((one) => this.ints(one));
    if (made?.opType === 'Div') {
      const [a, b] = made.input.map((one) => this.ints(one)) as [number[], number[]];
      return a.map((number, i) => Math.trunc(number / b[i]!));
    }
    throw new NoGradient(`${value} is not a constant`);
  }

  private given(value: string): Shape {
    const initializer = this.g.initializers.find(({ name }) => name === value);
    if (initializer) return initializer.dims.map(Number);
    const type = this.g.inputs.find(({ name }) => name === value)?.type?.value;
    if (type?.case !== 'tensorType') throw new Error(`the graph has no value ${value}`);
    return type.value.shape!.dim.map(({ value: dim }) => (dim.case === 'dimValue' ? Number(dim.value) : dim.value!));
  }

  private inferred(made: NodeProto): Shape {
    const { opType, input } = made;
    if (ALIKE.has(opType)) return this.of(input[0]!);
    if (ELEMENTWISE.has(opType)) return input.map((one) => this.of(one)).reduce(broadcast);
    switch (opType) {
      case 'MatMul':
      case 'FusedMatMul': {
        const [a, b] = [this.of(input[0]!), this.of(input[1]!)];
        const [m, n] = [
          a.at(intAttribute(made, 'transA', 0) ? -1 : -2)!,
          b.at(intAttribute(made, 'transB', 0) ? -2 : -1)!,
        ];
        if (a.length >= 2 && b.length >= 2) return [...broadcast(a.slice(0, -2), b.slice(0, -2)), m, n];
        break;
      }
      case 'ReduceSum':
      case 'ReduceMean':
      case 'ReduceMax':
      case 'ReduceSumSquare':
        return this.reduced(made);
      case 'TopK':
        return [...this.of(input[0]!).slice(0, -1), this.constantLength(input[1]!) ?? made.output[0]!];
      case 'Gather': {
        const [data, axis] = [this.of(input[0]!), intAttribute(made, 'axis', 0)];
        return [...data.slice(0, axis), ...this.of(input[1]!), ...data.slice(axis + 1)];
      }
      case 'GatherElements':
        return this.of(input[1]!);
      case 'Shape':
        return [this.of(input[0]!).length];
      case 'ConstantOfShape':
        return this.asked(input[0]!);
      case 'Expand':
        return broadcast(this.of(input[0]!), this.asked(input[1]!));
      case 'Reshape':
        return this.reshaped(input[0]!, this.asked(input[1]!));
      case 'Transpose': {
        const shape = this.of(input[0]!);
        return intsAttribute(made, 'perm')?.map((axis) => shape[axis]!) ?? [...shape].reverse();
      }
      case 'Slice':
        return this.sliced(made);
      case 'Concat': {
        const axis = intAttribute(made, 'axis', 0);
        const shapes = input.map((one) => this.of(one));
        const length = shapes.reduce((sum, shape) => sum + numberOf(shape.at(axis)!), 0);
        return shapes[0]!.with(axis, length);
      }
      case 'Range': {
        const [from, to, step] = input.map((one) => this.ints(one)[0]!) as [number, number, number];
        return [Math.ceil((to - from) / step)];
      }
      case 'Tile': {
        const times = this.ints(input[1]!);
        return this.of(input[0]!).map((dim, axis) => (times[axis] === 1 ? dim : numberOf(dim) * times[axis]!));
      }
      case 'Attention':
        return this.of(input[0]!);
    }
    throw new NoGradient(`the shape of what ${opType} gives is not known here`);
  }

  /** The shape stored in a value: that of another value, or a constant. */
  private asked(value: string): Shape {
    const made = this.g.nodes.find(({ output }) => output[0] === value);
    return made?.opType === 'Shape' ? this.of(made.input[0]!) : this.ints(value);
  }

  /** The numbers of a Reshape, where 0 keeps a dimension and −1 is inferred. */
  private reshaped(value: string, asked: Shape): Shape {
    if (!asked.some((dim) => dim === 0 || dim === -1)) return asked;
    const from = this.of(value);
    const known = asked.map((dim, axis) => (dim === 0 ? from[axis]! : dim));
    const product = (dims: Shape) => dims.reduce((all: number, dim) => all * numberOf(dim), 1);
    return known.map((dim) => (dim === -1 ? product(from) / product(known.filter((other) => other !== -1)) : dim));
  }

  /** First and last (exclusive) entry along the single axis of a Slice with constant bounds. */
  bounds({ input }: NodeProto): { axis: number; from: number; to: number } {
    const [from, to, axis] = [1, 2, 3].map((i) => this.ints(input[i]!)[0]!) as [number, number, number];
    const length = numberOf(this.of(input[0]!)[axis]!);
    const within = (at: number) => Math.min(length, at < 0 ? at + length : at);
    return { axis, from: within(from), to: within(to) };
  }

  private sliced(made: NodeProto): Shape {
    const { axis, from, to } = this.bounds(made);
    return this.of(made.input[0]!).with(axis, to - from);
  }

  private constantLength(value: string): number | undefined {
    return this.g.initializers.some(({ name }) => name === value) ? this.ints(value)[0] : undefined;
  }

  private reduced(made: NodeProto): Shape {
    const shape = this.of(made.input[0]!);
    const axes = this.axes(made);
    const kept = intAttribute(made, 'keepdims', 1) === 1;
    return shape.flatMap((dim, axis) => (axes.includes(axis) ? (kept ? [1] : []) : [dim]));
  }

  /** The axes of a Reduce…, counted from the first. */
  axes({ input }: NodeProto): number[] {
    const rank = this.of(input[0]!).length;
    return this.ints(input[1]!).map((axis) => (axis < 0 ? axis + rank : axis));
  }
}

function numberOf(dim: Dim): number {
  if (typeof dim === 'number') return dim;
  throw new NoGradient(`the length of ${dim} is not known`);
}

/** Operators whose output has the shape of their first operand. */
const ALIKE = new Set(
  'Gelu Sigmoid Erf Softmax RMSNormalization LayerNormalization RotaryEmbedding ScatterElements'.split(' '),
);

/** Elementwise operators with broadcasting. */
const ELEMENTWISE = new Set(
  'Add Sub Mul Div Relu Exp Sqrt Tanh Abs Neg Identity Cast Where Greater GreaterOrEqual Less Equal Not And Or Min Max'.split(
    ' ',
  ),
);

/** The output shape of a binary operator. @throws Error if the shapes do not match */
export function broadcast(a: Shape, b: Shape): Shape {
  const rank = Math.max(a.length, b.length);
  return Array.from({ length: rank }, (_, i) => {
    const [x, y] = [a[i - rank + a.length] ?? 1, b[i - rank + b.length] ?? 1];
    if (x !== y && x !== 1 && y !== 1) throw new Error(`shapes [${a}] and [${b}] do not fit`);
    return x === 1 ? y : x;
  });
}

/** The same shape? */
export const sameShape = (a: Shape, b: Shape) => a.length === b.length && a.every((dim, i) => dim === b[i]);

/** All zeros, of a value's shape. */
export function zerosLike(g: GraphBuilder, value: Value): Value {
  return g.op('ConstantOfShape', [g.op('Shape', [value])]);
}
