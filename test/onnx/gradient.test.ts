import assert from 'node:assert/strict';
import { test } from 'node:test';
import { gradients } from '../../src/onnx/gradient.js';
import { GraphBuilder, type Value } from '../../src/onnx/graph.js';
import { Shapes } from '../../src/onnx/shapes.js';
import { Generator } from '../../src/random/generator.js';
import { relativeDifference } from '../golden.js';
import { slowValues, type Tensor } from './slow-graph.js';

type Build = (g: GraphBuilder, ...inputs: Value[]) => Value;

const STEP = 1e-5;

function random(seed: number, dims: readonly number[]): Tensor {
  const generator = new Generator(seed);
  const length = dims.reduce((product, dim) => product * dim, 1);
  return { dims, values: Float64Array.from({ length }, () => generator.normal()) };
}

/** The graph of Σ weights ∘ what `build` makes of inputs a, b, …, and its gradient. */
function differentiated(build: Build, shapes: readonly (readonly number[])[], made: readonly number[]) {
  const g = new GraphBuilder('differentiated');
  const inputs = shapes.map((shape, i) => g.input(String.fromCharCode(97 + i), 'float32', shape));
  const weighted = g.mul(build(g, ...inputs), g.input('weights', 'float32', made));
  const sum = made.length === 0 ? weighted : g.reduceSum(weighted, [...made.keys()]);
  return { g, inputs, sum, found: gradients(g, sum, inputs) };
}

/** Compares with central differences, both in float64. */
function check(build: Build, shapes: readonly (readonly number[])[], made: readonly number[]): void {
  const { g, inputs, sum, found } = differentiated(build, shapes, made);
  const at = new Map<string, Tensor>(inputs.map((name, i) => [name, random(i + 1, shapes[i]!)]));
  at.set('weights', random(99, made));
  const values = slowValues(g, at);
  for (const name of inputs) {
    const { dims, values: x } = at.get(name)!;
    const numeric = Float64Array.from(x, (_, k) => {
      const [up, down] = [1, -1].map((sign) => {
        const moved = x.slice();
        moved[k]! += sign * STEP;
        return slowValues(g, new Map([...at, [name, { dims, values: moved }]])).get(sum)!.values[0]!;
      });
      return (up! - down!) / (2 * STEP);
    });
    const written = found.get(name);
    if (written === undefined) {
      assert.ok(
        numeric.every((one) => one === 0),
        name,
      );
      continue;
    }
    const gradient = values.get(written)!;
    assert.deepEqual(gradient.dims, dims, name);
    assert.ok(relativeDifference(gradient.values, numeric) < 1e-7, `${name}: ${gradient.values}, not ${numeric}`);
  }
}

const [MATRIX, ROW, COLUMN] = [[4, 3], [3], [4, 1]] as const;
const largest = (g: GraphBuilder, x: Value) => g.ops('TopK', [x, g.ints(2)], 2, { axis: -1 }) as [Value, Value];

const CASES: Readonly<Record<string, readonly [Build, readonly (readonly number[])[], readonly number[]]>> = {
  'Add, a row broadcast': [(g, a, b) => g.add(a!, b!), [MATRIX, ROW], MATRIX],
  'Sub, a column from a row': [(g, a, b) => g.sub(a!, b!), [COLUMN, ROW], MATRIX],
  'Mul, both broadcast': [(g, a, b) => g.mul(a!, b!), [COLUMN, ROW], MATRIX],
  'Mul of a value with itself': [(g, a) => g.mul(a!, a!), [MATRIX], MATRIX],
  'Div by a row': [(g, a, b) => g.div(a!, g.add(g.mul(b!, b!), g.scalar(1))), [MATRIX, ROW], MATRIX],
  Relu: [(g, a) => g.relu(a!), [MATRIX], MATRIX],
  Exp: [(g, a) => g.op('Exp', [a!]), [ROW], ROW],
  Tanh: [(g, a) => g.op('Tanh', [a!]), [ROW], ROW],
  Sqrt: [(g, a) => g.op('Sqrt', [g.add(g.mul(a!, a!), g.scalar(1))]), [MATRIX], MATRIX],
  Neg: [(g, a) => g.op('Neg', [a!]), [MATRIX], MATRIX],
  'Where by a comparison': [(g, a, b) => g.op('Where', [g.op('Greater', [a!, b!]), a!, b!]), [MATRIX, ROW], MATRIX],
  'a comparison as a factor': [(g, a, b) => g.mul(g.positive(a!), b!), [MATRIX, MATRIX], MATRIX],
  MatMul: [(g, a, b) => g.matmul(a!, b!), [MATRIX, [3, 5]], [4, 5]],
  'MatMul with its second factor transposed': [
    (g, a, b) => g.matmul(a!, b!, { transB: true }),
    [MATRIX, [5, 3]],
    [4, 5],
  ],
  'a row before a product': [(g, a, b, c) => g.matmul(g.sub(a!, b!), c!), [MATRIX, ROW, [3, 5]], [4, 5]],
  'a row before a transposed product': [
    (g, a, b, c) => g.matmul(g.sub(a!, b!), c!, { transB: true }),
    [MATRIX, ROW, [5, 3]],
    [4, 5],
  ],
  'ReduceSum over rows': [(g, a) => g.reduceSum(a!, [0]), [MATRIX], ROW],
  'ReduceSum over columns, which stay': [(g, a) => g.reduceSum(a!, [1], true), [MATRIX], COLUMN],
  'ReduceSum over all': [(g, a) => g.reduceSum(g.mul(a!, a!), [0, 1]), [MATRIX], []],
  ReduceMean: [(g, a) => g.op('ReduceMean', [g.mul(a!, a!), g.ints(0)], { keepdims: 0 }), [MATRIX], ROW],
  ReduceSumSquare: [(g, a, b) => g.reduceSumSquare(g.sub(a!, b!), [1]), [MATRIX, ROW], [4]],
  'TopK, its largest': [(g, a) => largest(g, a!)[0], [MATRIX], [4, 2]],
  'TopK scattered back': [
    (g, a) => {
      const [values, indices] = largest(g, a!);
      return g.op('ScatterElements', [g.mul(a!, g.scalar(0.1)), indices, g.mul(values, values)], { axis: -1 });
    },
    [MATRIX],
    MATRIX,
  ],
  GatherElements: [(g, a, b) => g.op('GatherElements', [b!, largest(g, a!)[1]], { axis: 1 }), [MATRIX, MATRIX], [4, 2]],
  'Transpose of a product': [(g, a, b) => g.op('Transpose', [g.matmul(a!, b!)]), [MATRIX, [3, 5]], [5, 4]],
  Reshape: [(g, a) => g.reshape(a!, 2, 6), [MATRIX], [2, 6]],
};

for (const [name, [build, shapes, made]] of Object.entries(CASES)) {
  test(`the gradient of ${name} equals finite differences`, () => check(build, shapes, made));
}

test('the gradient of a gated SAE with a loss of every kind of term equals finite differences', () => {
  const [B, D, S] = [5, 4, 7];
  const loss: Build = (g, x, W_enc, r, b, W_dec, b_dec) => {
    const p = g.matmul(g.sub(x!, b_dec!), W_enc!);
    const open = g.add(p, b!);
    const f = g.mul(g.positive(open), g.relu(g.add(g.mul(p, g.op('Exp', [r!])), b!)));
    const error = g.sub(g.add(g.matmul(f, W_dec!), b_dec!), x!);
    const share = g.div(g.reduceSumSquare(error, [1]), g.add(g.reduceSumSquare(x!, [1]), g.scalar(1)));
    const [values, indices] = largest(g, g.relu(open));
    const few = g.op('ScatterElements', [g.mul(p, g.scalar(0)), indices, values], { axis: -1 });
    return g.add(g.op('Sqrt', [share]), g.reduceSumSquare(g.matmul(few, W_dec!), [1]));
  };
  check(loss, [[B, D], [D, S], [S], [S], [S, D], [D]], [B]);
});

test('a stopped gradient is constant, and a given derivative replaces that of the value', () => {
  const g = new GraphBuilder('stopped');
  const [a, b] = [g.input('a', 'float32', [3]), g.input('b', 'float32', [2, 3])];
  // b · sg(a), and a step at a whose derivative is said to be 5 for each entry of b.
  const step = g.withDerivative(g.positive(g.sub(b, a)), {
    inputs: [a],
    of: (inner, gradient) => [inner.mul(gradient, inner.scalar(5))],
  });
  const sum = g.reduceSum(g.add(g.mul(b, g.stopGradient(a)), step), [0, 1]);
  const found = gradients(g, sum, [a, b]);
  const at = new Map([
    ['a', random(1, [3])],
    ['b', random(2, [2, 3])],
  ]);
  const values = slowValues(g, at);
  assert.deepEqual([...values.get(found.get(a)!)!.values], [10, 10, 10]);
  const twice = [...at.get('a')!.values, ...at.get('a')!.values];
  assert.deepEqual([...values.get(found.get(b)!)!.values], twice);
});

test('an operator without a rule is refused by name, and only where it matters', () => {
  const g = new GraphBuilder('no-rule');
  const [a, b] = [g.input('a', 'float32', [3]), g.input('b', 'float32', [3])];
  const sum = g.reduceSum(g.mul(a, g.op('Abs', [b])), [0]);
  assert.throws(() => gradients(g, sum, [a, b]), /Abs/);
  assert.throws(() => gradients(g, g.reduceSum(g.op('Abs', [a]), [0]), [a]), /Abs/);
});

test('where only its sum over rows is needed, the product of a batch is not formed', () => {
  const g = new GraphBuilder('sums');
  const [x, b, W] = [g.input('x', 'float32', [64, 3]), g.input('b', 'float32', [3]), g.input('W', 'float32', [3, 5])];
  const sum = g.reduceSumSquare(g.matmul(g.sub(x, b), W), [0, 1]);
  const before = g.nodes.length;
  gradients(g, sum, [b, W]);
  const products = g.nodes.slice(before).filter(({ opType }) => /MatMul/.test(opType));
  const shapes = new Shapes(g);
  // ∂W, and W · Σ rows.
  assert.deepEqual(
    products.map(({ input }) => input.map((name) => shapes.of(name).length)),
    [
      [2, 2],
      [2, 1],
    ],
  );
});
