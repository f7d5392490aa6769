import { GraphBuilder } from '../../../onnx/graph.js';

/** The products of a worker, by name, as models of ONNX Runtime. */
export type ProductGraphs = Readonly<Record<'integer' | 'plain' | 'transposedA' | 'transposedB', Uint8Array>>;

/** Made once for all workers: to load what writes models takes each of them longer than to open these. */
export function productGraphs(): ProductGraphs {
  return {
    integer: integerGraph(),
    plain: floatGraph({}),
    transposedA: floatGraph({ transA: true }),
    transposedB: floatGraph({ transB: true }),
  };
}

function integerGraph(): Uint8Array {
  const g = new GraphBuilder('int8-product');
  const a = g.input('a', 'uint8', ['rows', 'inner']);
  const b = g.input('b', 'int8', ['inner', 'columns']);
  const zero = g.input('zero', 'uint8', []);
  g.output('out', g.op('MatMulInteger', [a, b, zero]), 'int32', ['rows', 'columns']);
  return g.encode();
}

function floatGraph({ transA = false, transB = false }): Uint8Array {
  const g = new GraphBuilder('product');
  const a = g.input('a', 'float32', transA ? ['inner', 'rows'] : ['rows', 'inner']);
  const b = g.input('b', 'float32', transB ? ['columns', 'inner'] : ['inner', 'columns']);
  g.output('out', g.matmul(a, b, { transA, transB }), 'float32', ['rows', 'columns']);
  return g.encode();
}
