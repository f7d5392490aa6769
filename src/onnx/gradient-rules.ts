import { type Differentiation, type GradientPart, type GradientRule, needed } from './differentiation.js';
import type { GraphBuilder, Value } from './graph.js';
import type { NodeProto } from './onnx_pb.js';
import { broadcast, intAttribute, intsAttribute, NoGradient, type Shape, sameShape, zerosLike } from './shapes.js';

const negated = (part: GradientPart): GradientPart => ({ ...part, factor: -part.factor });

/** For an elementwise operator: the gradient times a value of the output's shape. */
export const entrywise =
  (derivative: (g: GraphBuilder, made: NodeProto) => Value): GradientRule =>
  (d, made, parts) => [[d.times(d.sum(parts), derivative(d.g, made))]];

/** Rules for the operators of SAE losses. */
export const LOSS_RULES: Readonly<Record<string, GradientRule>> = {
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
    const over: GradientPart = { factor: part.factor, value: d.g.div(d.valueOf({ ...part, factor: 1 }), b), shape };
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
    const chosen = (a: Value, b: Value): GradientPart => ({
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
    const perm = intsAttribute(made, 'perm');
    const back = perm && { perm: perm.map((_, axis) => perm.indexOf(axis)) };
    const value = d.g.op('Transpose', [d.whole(parts, made.output[0] as Value)], back);
    return [[{ factor: 1, value, shape: d.shapes.of(made.input[0]!) }]];
  },
  Reshape: (d, made, parts) => {
    const shape = d.shapes.of(made.input[0]!);
    const value = d.g.reshape(d.whole(parts, made.output[0] as Value), ...shape.map((dim) => d.length(dim)));
    return [[{ factor: 1, value, shape }]];
  },
};

/** C = A B, with either transposed: dA = dC Bᵀ and dB = Aᵀ dC, and the transposed variants. */
function product(d: Differentiation, made: NodeProto, parts: readonly GradientPart[]) {
  const [a, b] = made.input as [Value, Value];
  const [transA, transB] = ['transA', 'transB'].map((name) => intAttribute(made, name, 0) === 1);
  if (transA) throw new NoGradient('a product with its first factor transposed has no gradient here');
  const gradient = d.whole(parts, made.output[0] as Value);
  const [left, right] = [d.shapes.of(a), d.shapes.of(b)];
  if (d.isActive(b) && left.length !== right.length)
    throw new NoGradient('a matrix for every product has no gradient here');
  // A broadcast operand would have to be summed over the products that share it, except a single matrix shared by all.
  const products = d.shapes.of(made.output[0]!).slice(0, -2);
  const broadcasts = (shape: Shape) => !sameShape(shape.slice(0, -2), products);
  if ((d.isActive(a) && broadcasts(left)) || (d.isActive(b) && broadcasts(right))) {
    throw new NoGradient('a product that broadcasts has no gradient here');
  }
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
