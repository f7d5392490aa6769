import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fromBinary } from '@bufbuild/protobuf';
import { GraphBuilder, OPSET, type Value } from '../../src/onnx/graph.js';
import { type GraphProto, ModelProtoSchema } from '../../src/onnx/onnx_pb.js';
import { runGraph } from './run-graph.js';

function decoded(graph: GraphBuilder): GraphProto {
  return fromBinary(ModelProtoSchema, graph.encode()).graph!;
}
const kinds = (graph: GraphProto) => graph.node.map(({ opType }) => opType);
const initializers = (graph: GraphProto) => graph.initializer.map(({ name }) => name);
const row = (value: number) => Float32Array.of(value, value);

test('the model names its operator sets and its producer', () => {
  const g = new GraphBuilder('head');
  g.output('y', g.scalar(1), 'float32', []);
  const model = fromBinary(ModelProtoSchema, g.encode());
  assert.equal(model.producerName, 'sae-pipe');
  assert.equal(model.graph!.name, 'head');
  assert.deepEqual(
    model.opsetImport.map(({ domain, version }) => [domain, Number(version)]),
    [
      ['', OPSET],
      ['com.microsoft', 1],
    ],
  );
});

test('nodes, initializers and inputs that no output needs are left out', () => {
  const g = new GraphBuilder('cut');
  const x = g.input('x', 'float32', [2]);
  g.input('unused', 'float32', [2]);
  const shallow = g.add(x, g.table('near', [2], row(1)));
  const deep = g.mul(shallow, g.table('far', [2], row(2)));
  g.relu(deep);
  g.output('y', shallow, 'float32', [2]);
  const graph = decoded(g);
  assert.deepEqual(kinds(graph), ['Add', 'Identity']);
  assert.deepEqual(initializers(graph), ['near']);
  assert.deepEqual(
    graph.input.map(({ name }) => name),
    ['x'],
  );
  assert.deepEqual(
    graph.output.map(({ name }) => name),
    ['y'],
  );
});

test('a node that two outputs need is kept once, in the order it was written', async () => {
  const g = new GraphBuilder('shared');
  const x = g.input('x', 'float32', [2]);
  const shared = g.add(x, g.table('one', [2], row(1)));
  g.sub(shared, x);
  g.output('left', g.mul(shared, x), 'float32', [2]);
  g.output('right', g.div(shared, x), 'float32', [2]);
  assert.deepEqual(kinds(decoded(g)), ['Add', 'Mul', 'Identity', 'Div', 'Identity']);
  const { left, right } = await runGraph(g, { x: { dims: [2], data: [1, 2] } });
  assert.deepEqual(
    [left!.data, right!.data],
    [
      [2, 6],
      [2, 1.5],
    ],
  );
});

test('a node is kept for any one of its outputs', () => {
  const g = new GraphBuilder('split');
  const parts = g.ops('Split', [g.input('x', 'float32', [4])], 2, { axis: 0, num_outputs: 2 });
  g.output('y', parts[1]!, 'float32', [2]);
  assert.deepEqual(kinds(decoded(g)), ['Split', 'Identity']);
});

test('equal constants are one initializer, unequal ones are not', () => {
  const g = new GraphBuilder('constants');
  const values: Value[] = [
    g.scalar(1),
    g.scalar(1),
    g.scalar(2),
    g.ints(1),
    g.ints(1),
    g.ints(1, 1),
    g.ints(),
    g.int(1),
  ];
  assert.equal(values[0], values[1]);
  assert.equal(values[3], values[4]);
  assert.equal(new Set(values).size, 6);
  for (const [i, value] of values.entries()) g.output(`y${i}`, value, i < 3 ? 'float32' : 'int64', []);
  assert.equal(decoded(g).initializer.length, 6);
});

test('an output may have any name, and a value may be output twice', async () => {
  const g = new GraphBuilder('names');
  const x = g.input('x', 'float32', [1]);
  const y = g.add(x, x);
  g.output('blocks.0.hook_resid_post', y, 'float32', [1]);
  g.output('again', y, 'float32', [1]);
  const found = await runGraph(g, { x: { dims: [1], data: [4] } });
  assert.deepEqual(Object.keys(found).sort(), ['again', 'blocks.0.hook_resid_post']);
  assert.deepEqual([found.again!.data, found['blocks.0.hook_resid_post']!.data], [[8], [8]]);
});

/** Σ of `times` additions of (x · outer + inner), with nodes inside and outside that nothing needs. */
function loopGraph(times: number): GraphBuilder {
  const g = new GraphBuilder('loop');
  const x = g.input('x', 'float32', [2]);
  const outer = g.table('outer', [2], row(3));
  const scaled = g.mul(x, outer);
  g.sub(x, g.table('idle', [2], row(9)));
  const body = g.body('body');
  body.input('i', 'int64', []);
  const going = body.input('going', 'bool', []);
  const sum = body.input('sum', 'float32', [2]);
  body.relu(body.table('idle inside', [2], row(9)));
  const more = body.add(sum, body.add(scaled, body.table('inner', [2], row(0.5))));
  body.output('going on', going, 'bool', []);
  body.output('sum so far', more, 'float32', [2]);
  const [total] = g.ops('Loop', [g.int(times), '', g.table('zero', [2], row(0))], 1, { body });
  g.output('y', total!, 'float32', [2]);
  return g;
}

test('a value of the outer graph that only a loop body uses is kept; an unused one is not, inside or outside', () => {
  const graph = decoded(loopGraph(4));
  assert.deepEqual(kinds(graph), ['Mul', 'Loop', 'Identity']);
  assert.deepEqual(
    initializers(graph)
      .filter((name) => !name.includes('const'))
      .sort(),
    ['outer', 'zero'],
  );
  const body = graph.node[1]!.attribute.find(({ name }) => name === 'body')!.g!;
  assert.deepEqual(kinds(body), ['Add', 'Add', 'Identity', 'Identity']);
  assert.deepEqual(initializers(body), ['inner']);
  assert.equal(body.input.length, 3, 'a loop body has all its inputs, used or not');
});

test('a loop whose body uses values of the graph around it computes its sum', async () => {
  for (const times of [0, 1, 5]) {
    const { y } = await runGraph(loopGraph(times), { x: { dims: [2], data: [1, -2] } });
    assert.deepEqual(
      y!.data,
      [3.5 * times, -5.5 * times].map((value) => value + 0),
    );
  }
});

test('a value of the outer graph that a loop body outputs directly is kept', async () => {
  const g = new GraphBuilder('straight');
  const given = g.add(g.input('x', 'float32', [2]), g.table('one', [2], row(1)));
  const body = g.body('body');
  body.input('i', 'int64', []);
  const going = body.input('going', 'bool', []);
  body.output('going on', going, 'bool', []);
  body.output('each', given, 'float32', [2]);
  const [stacked] = g.ops('Loop', [g.int(3), ''], 1, { body });
  g.output('y', stacked!, 'float32', [3, 2]);
  const { y } = await runGraph(g, { x: { dims: [2], data: [1, 2] } });
  assert.deepEqual(
    [y!.dims, y!.data],
    [
      [3, 2],
      [2, 3, 2, 3, 2, 3],
    ],
  );
});

test('nodes of a loop body do not hide those of the graph around it', async () => {
  const g = new GraphBuilder('scopes');
  const x = g.input('x', 'float32', [1]);
  // The first addition outside and the first one inside.
  const outside = g.add(x, x);
  const body = g.body('body');
  body.input('i', 'int64', []);
  const going = body.input('going', 'bool', []);
  const sum = body.input('sum', 'float32', [1]);
  const inside = body.add(sum, sum);
  body.output('going on', going, 'bool', []);
  body.output('sum so far', body.mul(inside, outside), 'float32', [1]);
  g.output('y', g.ops('Loop', [g.int(2), '', x], 1, { body })[0]!, 'float32', [1]);
  // 3 → (3 + 3) · 6 = 36 → (36 + 36) · 6.
  assert.deepEqual((await runGraph(g, { x: { dims: [1], data: [3] } })).y!.data, [432]);
});

test('two bodies of one graph do not mix up their names', async () => {
  const g = new GraphBuilder('two');
  const x = g.input('x', 'float32', [2]);
  const summed = (times: number, addend: number) => {
    const body = g.body('body');
    body.input('i', 'int64', []);
    const going = body.input('going', 'bool', []);
    const sum = body.input('sum', 'float32', [2]);
    body.output('going on', going, 'bool', []);
    body.output('sum so far', body.add(sum, body.scalar(addend)), 'float32', [2]);
    return g.ops('Loop', [g.int(times), '', x], 1, { body })[0]!;
  };
  g.output('y', g.mul(summed(2, 10), summed(3, 1)), 'float32', [2]);
  const { y } = await runGraph(g, { x: { dims: [2], data: [0, 1] } });
  assert.deepEqual(y!.data, [20 * 3, 21 * 4]);
});
