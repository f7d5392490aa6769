import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GraphBuilder } from '../../src/onnx/graph.js';
import { onnxRuntime, openSession } from '../../src/onnx/session.js';
import { forWebGpu } from '../../src/onnx/webgpu.js';
import { readGraph } from '../lm/read-graph.js';

/** Products with either matrix transposed: of an input, in a Loop, and of a value whose rank is not known. */
function products(): GraphBuilder {
  const g = new GraphBuilder('products');
  const a = g.input('a', 'float32', [3, 2]);
  const b = g.input('b', 'float32', [4, 2]);
  const w = g.table(
    'w',
    [5, 2],
    Float32Array.from({ length: 10 }, (_, i) => i - 4),
  );
  g.output('plain', g.matmul(a, b, { transB: true }), 'float32', [3, 4]);
  g.output('both', g.matmul(a, g.matmul(a, w, { transB: true }), { transA: true }), 'float32', [2, 5]);
  g.output('unknown', g.matmul(a, g.relu(b), { transB: true }), 'float32', [3, 4]);
  const body = g.body('body');
  body.input('index', 'int64', []);
  body.output('again', body.input('condition', 'bool', []), 'bool', []);
  body.output('y', body.matmul(a, w, { transB: true }), 'float32', [3, 5]);
  g.output('looped', g.ops('Loop', [g.int(2), ''], 1, { body })[0]!, 'float32', [2, 3, 5]);
  return g;
}

test('WebGPU has no transposed products: a transpose and a plain one compute the same', async () => {
  const { Tensor } = await onnxRuntime();
  const model = products().encode();
  const rewritten = forWebGpu(model);
  assert.equal(readGraph(model).nodes('FusedMatMul').length, 4);
  // The one whose operand's rank is not known stays.
  assert.equal(readGraph(rewritten).nodes('FusedMatMul').length, 1);
  const floats = (length: number) => Float32Array.from({ length }, (_, i) => Math.sin(i));
  const feeds = { a: new Tensor('float32', floats(6), [3, 2]), b: new Tensor('float32', floats(8), [4, 2]) };
  const outputs = [];
  for (const one of [model, rewritten]) {
    const session = await openSession(one, { threads: 1 });
    const found = await session.run(feeds);
    outputs.push(Object.entries(found).map(([name, { dims, data }]) => [name, dims, [...(data as Float32Array)]]));
    await session.release();
  }
  assert.deepEqual(
    outputs[1]!.map(([name, dims]) => [name, dims]),
    outputs[0]!.map(([name, dims]) => [name, dims]),
  );
  for (const [i, [name, , values]] of outputs[0]!.entries()) {
    const other = outputs[1]![i]![2] as number[];
    for (const [j, value] of (values as number[]).entries()) assert.ok(Math.abs(value - other[j]!) < 1e-6, `${name}`);
  }
});
