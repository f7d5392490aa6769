import assert from 'node:assert/strict';
import { test } from 'node:test';
import { GraphBuilder, weightMemory } from '../../src/onnx/graph.js';

test('a weight that is cast counts as float32, one used as stored as it is, one not used not at all', () => {
  const g = new GraphBuilder('weights');
  const rows = g.input('rows', 'int64', ['rows']);
  const at = (offset: number, length: number) => ({ path: '/weights', offset, length });
  const both = g.external('both', 'bfloat16', [10, 4], at(0, 80));
  const folded = g.external('folded', 'float16', [4], at(80, 8));
  const plain = g.external('plain', 'float32', [4], at(88, 16));
  g.external('unused', 'float32', [1000], at(104, 4000));
  const gathered = g.cast(g.gather(both, rows), 'float32');
  const sum = g.add(g.mul(gathered, g.cast(folded, 'float32')), plain);
  g.output('product', g.matmul(sum, g.cast(both, 'float32'), { transB: true }), 'float32', ['rows', 10]);
  const { parameters, bytes } = weightMemory(g.encode());
  assert.equal(parameters, 40 + 4 + 4);
  assert.equal(bytes, 40 * (4 + 2) + 4 * 4 + 4 * 4);
});
