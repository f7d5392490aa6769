import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GraphBuilder, type Value } from '../../src/onnx/graph.js';
import { Generator } from '../../src/random/generator.js';
import { type Fed, runGraph } from './run-graph.js';

const A: Fed = { dims: [2, 3], data: [1, 2, 3, 4, 5, 6] };
const B: Fed = { dims: [2, 3], data: [2, -1, 0.5, 1, -2, 4] };

/** Result of one formula of a and b, both [rows, columns]. */
async function computed(formula: (g: GraphBuilder, a: Value, b: Value) => Value, a: Fed = A, b: Fed = B) {
  const g = new GraphBuilder('formula');
  const [x, y] = [g.input('a', 'float32', ['m', 'n']), g.input('b', 'float32', ['p', 'q'])];
  const names = ['i', 'j'];
  const result = formula(g, x, y);
  // Both inputs are used, so that neither is cut away.
  const both = g.add(g.reduceSum(x, [0, 1]), g.reduceSum(y, [0, 1]));
  g.output('both', both, 'float32', []);
  g.output('result', result, 'float32', names);
  const { result: found } = await runGraph(g, { a, b });
  return found!;
}

test('sums, differences, products and quotients are taken entry by entry', async () => {
  assert.deepEqual((await computed((g, a, b) => g.add(a, b))).data, [3, 1, 3.5, 5, 3, 10]);
  assert.deepEqual((await computed((g, a, b) => g.sub(a, b))).data, [-1, 3, 2.5, 3, 7, 2]);
  assert.deepEqual((await computed((g, a, b) => g.mul(a, b))).data, [2, -2, 1.5, 4, -10, 24]);
  assert.deepEqual((await computed((g, a, b) => g.div(a, b))).data, [0.5, -2, 6, 4, -2.5, 1.5]);
});

test('relu and the step function', async () => {
  const x: Fed = { dims: [1, 4], data: [-2, -0, 0, 3] };
  assert.deepEqual((await computed((g, a) => g.relu(a), x)).data.map(Math.abs), [0, 0, 0, 3]);
  const { data, type } = await computed((g, a) => g.positive(a), x);
  assert.deepEqual(data, [0, 0, 0, 1]);
  assert.equal(type, 'float32');
});

test('matrix products with either side transposed are those of the triple sum', async () => {
  const random = new Generator(8);
  for (const transA of [false, true]) {
    for (const transB of [false, true]) {
      const [m, k, n] = [1 + random.below(5), 1 + random.below(5), 1 + random.below(5)];
      const entry = () => random.below(19) - 9;
      const a = Array.from({ length: m * k }, entry);
      const b = Array.from({ length: k * n }, entry);
      const expected: number[] = [];
      for (let i = 0; i < m; i++) {
        for (let j = 0; j < n; j++) {
          let sum = 0;
          for (let l = 0; l < k; l++) sum += a[transA ? l * m + i : i * k + l]! * b[transB ? j * k + l : l * n + j]!;
          expected.push(sum);
        }
      }
      const found = await computed(
        (g, x, y) => g.matmul(x, y, { transA, transB }),
        { dims: transA ? [k, m] : [m, k], data: a },
        { dims: transB ? [n, k] : [k, n], data: b },
      );
      assert.deepEqual(found.dims, [m, n]);
      assert.deepEqual(found.data, expected, `transA ${transA}, transB ${transB}`);
    }
  }
});

test('reductions go over the axes given, which stay as 1 on request', async () => {
  const reduced = async (formula: (g: GraphBuilder, a: Value) => Value, rank: number) => {
    const g = new GraphBuilder('reduce');
    g.output('y', formula(g, g.input('a', 'float32', [2, 3])), 'float32', ['i', 'j'].slice(0, rank));
    const { y } = await runGraph(g, { a: { dims: [2, 3], data: [1, -2, 3, 4, 5, -6] } });
    return [y!.dims, y!.data];
  };
  assert.deepEqual(await reduced((g, a) => g.reduceSum(a, [0]), 1), [[3], [5, 3, -3]]);
  assert.deepEqual(await reduced((g, a) => g.reduceSum(a, [1], true), 2), [
    [2, 1],
    [2, 3],
  ]);
  assert.deepEqual(await reduced((g, a) => g.reduceSum(a, [0, 1]), 0), [[], [5]]);
  assert.deepEqual(await reduced((g, a) => g.reduceMax(a, [1]), 1), [[2], [3, 5]]);
  assert.deepEqual(await reduced((g, a) => g.reduceMax(a, [0], true), 2), [
    [1, 3],
    [4, 5, 3],
  ]);
  assert.deepEqual(await reduced((g, a) => g.reduceSumSquare(a, [1]), 1), [[2], [14, 77]]);
  assert.deepEqual(await reduced((g, a) => g.reduceSumSquare(a, [-1], true), 2), [
    [2, 1],
    [14, 77],
  ]);
});

test('gather takes rows, or columns, by int64 indices', async () => {
  for (const [axis, dims, data] of [
    [0, [3, 3], [4, 5, 6, 1, 2, 3, 4, 5, 6]],
    [1, [2, 3], [2, 1, 2, 5, 4, 5]],
  ] as const) {
    const g = new GraphBuilder('gather');
    const rows = g.gather(g.input('a', 'float32', [2, 3]), g.input('at', 'int64', [3]), axis);
    g.output('y', rows, 'float32', ['i', 'j']);
    const { y } = await runGraph(g, { a: A, at: { dtype: 'int64', dims: [3], data: [1, 0, 1] } });
    assert.deepEqual(y, { dims: [...dims], data: [...data], type: 'float32' });
  }
});

test('concat joins along its axis, and leaves a single value as it is', async () => {
  const joined = await computed((g, a, b) => g.concat([a, b, a], 0));
  assert.deepEqual(joined.dims, [6, 3]);
  assert.deepEqual(joined.data, [...A.data, ...B.data, ...A.data]);
  const beside = await computed((g, a, b) => g.concat([a, b], 1));
  assert.deepEqual(beside.data, [1, 2, 3, 2, -1, 0.5, 4, 5, 6, 1, -2, 4]);
  const g = new GraphBuilder('single');
  const value = g.input('a', 'float32', [2]);
  assert.equal(g.concat([value], 0), value);
});

test('reshape keeps the entries in order; 0 keeps a dimension and -1 is inferred', async () => {
  const found = await computed((g, a) => g.reshape(a, 3, -1));
  assert.deepEqual([found.dims, found.data], [[3, 2], A.data]);
  assert.deepEqual((await computed((g, a) => g.reshape(a, 0, 3))).dims, [2, 3]);
});

test('constants, tables and casts hold their values', async () => {
  const g = new GraphBuilder('constants');
  g.output('scalar', g.op('Identity', [g.scalar(-0.25)]), 'float32', []);
  g.output('ints', g.ints(3, -1, 2 ** 40), 'int64', [3]);
  g.output('int', g.int(-7), 'int64', []);
  const view = Float32Array.of(9, 1, 2, 3, 4, 9).subarray(1, 5);
  g.output('table', g.table('t', [2, 2], view), 'float32', [2, 2]);
  g.output('cast', g.cast(g.table('c', [3], Float32Array.of(1.7, -1.7, 0)), 'int32'), 'int32', [3]);
  assert.deepEqual(await runGraph(g), {
    scalar: { dims: [], data: [-0.25], type: 'float32' },
    ints: { dims: [3], data: [3, -1, 2 ** 40], type: 'int64' },
    int: { dims: [], data: [-7], type: 'int64' },
    table: { dims: [2, 2], data: [1, 2, 3, 4], type: 'float32' },
    cast: { dims: [3], data: [1, -1, 0], type: 'int32' },
  });
});

test('attributes of every kind reach their operator', async () => {
  const g = new GraphBuilder('attributes');
  const a = g.input('a', 'float32', [2, 3]);
  g.output('float', g.op('LeakyRelu', [a], { alpha: { float: 0.5 } }), 'float32', [2, 3]);
  g.output('ints', g.op('Transpose', [a], { perm: [1, 0] }), 'float32', [3, 2]);
  g.output('string', g.op('Gelu', [a], { approximate: 'tanh' }), 'float32', [2, 3]);
  const [, second] = g.ops('Split', [a], 3, { axis: 1, num_outputs: 3n });
  g.output('one of several', second!, 'float32', [2, 1]);
  const x = [-2, 2, 3, 4, -1, 6];
  const found = await runGraph(g, { a: { dims: [2, 3], data: x } });
  assert.deepEqual(found.float!.data, [-1, 2, 3, 4, -0.5, 6]);
  assert.deepEqual(found.ints!.data, [-2, 4, 2, -1, 3, 6]);
  assert.deepEqual(found['one of several']!.data, [2, -1]);
  for (const [i, value] of found.string!.data.entries()) {
    const gelu = 0.5 * x[i]! * (1 + Math.tanh(Math.sqrt(2 / Math.PI) * (x[i]! + 0.044715 * x[i]! ** 3)));
    assert.ok(Math.abs(value - gelu) < 1e-6);
  }
});

test('an empty input stands for an optional one that is left out', async () => {
  const g = new GraphBuilder('clip');
  const clipped = g.op('Clip', [g.input('a', 'float32', [2, 3]), '', g.scalar(3)]);
  g.output('y', clipped, 'float32', [2, 3]);
  assert.deepEqual((await runGraph(g, { a: A })).y!.data, [1, 2, 3, 3, 3, 3]);
});

test('the same graph makes the same bytes', () => {
  const make = () => {
    const g = new GraphBuilder('twice');
    g.output('y', g.mul(g.scalar(2), g.add(g.input('a', 'float32', [2]), g.scalar(1))), 'float32', [2]);
    return g.encode();
  };
  assert.deepEqual(make(), make());
});
