import type { GraphBuilder, Value } from '../onnx/graph.js';
import type { AttentionInputs, AttentionShape } from './attention.js';

/** Queries a chunk, at least; a context has at most `MOST_CHUNKS` of them, so that the graph stays small. */
const CHUNK = 128;
const MOST_CHUNKS = 16;

/** Queries [first, last) with the keys [firstKey, last) that any of them sees. */
interface Chunk {
  readonly first: number;
  readonly last: number;
  readonly firstKey: number;
}

/**
 * Causal attention by chunks of queries, each against the keys that it can see and no others: half of the products of
 * whole causal attention, fewer with a window. What a chunk sees in part is masked.
 */
export function chunkedAttention(g: GraphBuilder, shape: AttentionShape, inputs: AttentionInputs): Value {
  const chunks = chunksOf(inputs.context, inputs.window);
  return shape.attentionSoftcap === null
    ? byOperator(g, shape, inputs, chunks)
    : byProducts(g, shape, shape.attentionSoftcap, inputs, chunks);
}

export function chunksOf(context: number, window: number | null): Chunk[] {
  const size = CHUNK * Math.ceil(context / (CHUNK * MOST_CHUNKS));
  return Array.from({ length: Math.ceil(context / size) }, (_, i) => {
    const first = i * size;
    const firstKey = window === null ? 0 : Math.max(0, first - window + 1);
    return { first, last: Math.min(first + size, context), firstKey };
  });
}

function byOperator(g: GraphBuilder, shape: AttentionShape, inputs: AttentionInputs, chunks: readonly Chunk[]): Value {
  const { q, k, v, window } = inputs;
  const attributes = {
    q_num_heads: shape.heads,
    kv_num_heads: shape.kvHeads,
    scale: { float: shape.attentionScale },
  };
  const parts = chunks.map(({ first, last, firstKey }) => {
    const seen = visible(g, { first, last, firstKey }, window);
    return g.op(
      'Attention',
      [g.slice(q, first, last, 1), g.slice(k, firstKey, last, 1), g.slice(v, firstKey, last, 1), seen],
      attributes,
    );
  });
  return g.concat(parts, 1);
}

/** The same written out: ONNX Runtime's operators compute the tanh of a cap one by one, Tanh itself by SIMD. */
function byProducts(
  g: GraphBuilder,
  shape: AttentionShape,
  cap: number,
  { q, k, v, context, window }: AttentionInputs,
  chunks: readonly Chunk[],
): Value {
  const { heads, kvHeads, headDim, attentionScale } = shape;
  const group = heads / kvHeads;
  /** [batch, context, kvHeads × count × headDim] → [batch, kvHeads, count, context, headDim] */
  const byHead = (x: Value, count: number) =>
    g.op('Transpose', [g.reshape(x, -1, context, kvHeads, count, headDim)], { perm: [0, 2, 3, 1, 4] });
  const queries = byHead(g.mul(q, g.scalar(attentionScale / cap)), group);
  const keys = g.op('Transpose', [g.reshape(k, -1, context, kvHeads, headDim)], { perm: [0, 2, 3, 1] });
  const values = g.reshape(byHead(v, 1), -1, kvHeads, context, headDim);
  const parts = chunks.map(({ first, last, firstKey }) => {
    const [rows, columns] = [last - first, last - firstKey];
    // Heads that share a key are rows of one product.
    const shared = g.reshape(g.slice(queries, first, last, 3), -1, kvHeads, group * rows, headDim);
    const products = g.matmul(shared, g.slice(keys, firstKey, last, 3));
    const scores = g.reshape(g.mul(g.op('Tanh', [products]), g.scalar(cap)), -1, kvHeads, group, rows, columns);
    const hidden = g.op('Where', [visible(g, { first, last, firstKey }, window), g.scalar(0), g.scalar(-1e30)]);
    const masked = g.reshape(g.add(scores, hidden), -1, kvHeads, group * rows, columns);
    const z = g.matmul(g.op('Softmax', [masked], { axis: -1 }), g.slice(values, firstKey, last, 2));
    return g.reshape(z, -1, kvHeads, group, rows, headDim);
  });
  return g.reshape(g.op('Transpose', [g.concat(parts, 3)], { perm: [0, 3, 1, 2, 4] }), -1, context, heads * headDim);
}

/** bool [queries, keys]: true where key j ≤ query i, and less than `window` before it. ONNX Runtime computes it once. */
function visible(g: GraphBuilder, { first, last, firstKey }: Chunk, window: number | null): Value {
  const range = (from: number) => g.op('Range', [g.int(from), g.int(last), g.int(1)]);
  const distance = g.sub(g.reshape(range(first), -1, 1), g.reshape(range(firstKey), 1, -1));
  const past = g.op('GreaterOrEqual', [distance, g.int(0)]);
  return window === null ? past : g.op('And', [past, g.op('Less', [distance, g.int(window)])]);
}
