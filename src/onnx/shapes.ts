import type { GraphBuilder, Value } from './graph.js';
import type { Dim } from './messages.js';
import type { NodeProto } from './onnx_pb.js';

/** Dimensions of a tensor; a name stands for one that is known when the graph runs. */
export type Shape = readonly Dim[];

/** A whole-number attribute of a node. */
export function intAttribute({ attribute }: NodeProto, name: string, usual: number): number {
  const found = attribute.find((one) => one.name === name);
  return found ? Number(found.i) : usual;
}

/** Shapes of a graph's values, worked out from those of its inputs and initializers for the operators that we write. */
export class Shapes {
  private readonly known = new Map<string, Shape>();

  constructor(private readonly g: GraphBuilder) {}

  /** @throws Error naming an operator whose result's shape is not known */
  of(value: string): Shape {
    let shape = this.known.get(value);
    if (!shape) {
      const made = this.g.nodes.find(({ output }) => output.includes(value));
      shape = made ? this.inferred(made) : this.given(value);
      this.known.set(value, shape);
    }
    return shape;
  }

  /** The numbers of a constant of whole numbers. */
  ints(value: string): number[] {
    const found = this.g.initializers.find(({ name }) => name === value);
    if (!found) throw new Error(`${value} is not a constant`);
    return found.int64Data.map(Number);
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
    if (ELEMENTWISE.has(opType)) return input.map((one) => this.of(one)).reduce(broadcast);
    switch (opType) {
      case 'MatMul':
      case 'FusedMatMul': {
        const [a, b] = [this.of(input[0]!), this.of(input[1]!)];
        const [m, n] = [
          a.at(intAttribute(made, 'transA', 0) ? -1 : -2)!,
          b.at(intAttribute(made, 'transB', 0) ? -2 : -1)!,
        ];
        if (a.length === 2 && b.length === 2) return [m, n];
        break;
      }
      case 'ReduceSum':
      case 'ReduceMean':
      case 'ReduceMax':
      case 'ReduceSumSquare':
        return this.reduced(made);
      case 'TopK':
        return [...this.of(input[0]!).slice(0, -1), this.constantLength(input[1]!) ?? made.output[0]!];
      case 'ScatterElements':
        return this.of(input[0]!);
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
        return this.asked(input[1]!);
      case 'Transpose':
        if (made.attribute.length === 0) return [...this.of(input[0]!)].reverse();
        break;
    }
    throw new Error(`the shape of what ${opType} gives is not known here`);
  }

  /** The shape that a value holds: that of another value, or a constant. */
  private asked(value: string): Shape {
    const made = this.g.nodes.find(({ output }) => output[0] === value);
    return made?.opType === 'Shape' ? this.of(made.input[0]!) : this.ints(value);
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

/** Operators that work on entries, with their operands broadcast. */
const ELEMENTWISE = new Set(
  'Add Sub Mul Div Relu Exp Sqrt Tanh Abs Neg Identity Cast Where Greater GreaterOrEqual Less Equal Not And Or Min Max'.split(
    ' ',
  ),
);

/** The shape of what an operator makes of two operands. @throws Error where they do not fit */
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
