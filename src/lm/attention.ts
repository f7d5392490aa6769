import { type GraphBuilder, MICROSOFT, type Value } from '../onnx/graph.js';
import type { Attribute } from '../onnx/messages.js';
import type { Device } from '../onnx/session.js';
import type { Precision } from './placement.js';

/**
 * How attention is computed. Chunks of queries are the fastest on the CPU (docs/explanation/benchmarks.md).
 * GroupQueryAttention has flash kernels on CUDA, but only in half precision with heads of at most 256, and everywhere
 * requires head sizes that are multiples of 8.
 */
export type AttentionForm = 'chunks' | 'GroupQueryAttention' | 'Attention';

export function attentionForm(device: Device, precision: Precision, headDim: number): AttentionForm {
  if (device === 'cpu' && precision === 'float32') return 'chunks';
  const kernel = device === 'cpu' || (device.startsWith('cuda') && precision !== 'float32');
  const fits = headDim % 8 === 0 && (device === 'cpu' || headDim <= 256);
  return kernel && fits ? 'GroupQueryAttention' : 'Attention';
}

/** Inputs of one layer's attention. */
export interface AttentionInputs {
  /** [batch, context, heads × headDim], rotated. */
  readonly q: Value;
  /** [batch, context, kvHeads × headDim], rotated. */
  readonly k: Value;
  readonly v: Value;
  readonly context: number;
  /** Attention window including the current token; null: full causal attention. */
  readonly window: number | null;
}

/** Sizes and constants of attention. */
export interface AttentionShape {
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Factor of the attention scores. */
  readonly attentionScale: number;
  /** Scores become cap · tanh(score / cap); null: they stay as they are. */
  readonly attentionSoftcap: number | null;
}

/**
 * Causal attention with grouped queries: softmax(cap(q kᵀ · scale) + mask) v, → [batch, context, heads × headDim].
 * A context no longer than the window needs no mask beyond the causal one.
 */
export function attention(g: GraphBuilder, form: AttentionForm, shape: AttentionShape, inputs: AttentionInputs): Value {
  const { q, k, v, context, window } = inputs;
  const local = window !== null && window < context ? window : null;
  if (form === 'chunks') return chunkedAttention(g, shape, { ...inputs, window: local });
  const { heads, kvHeads } = shape;
  const shared: Record<string, Attribute> = { kv_num_heads: kvHeads, scale: { float: shape.attentionScale } };
  if (shape.attentionSoftcap !== null) shared.softcap = { float: shape.attentionSoftcap };
  if (form === 'Attention') {
    const masked = local === null ? [q, k, v] : [q, k, v, nearerThan(g, local, context)];
    return g.op('Attention', masked, { is_causal: 1, q_num_heads: heads, ...shared });
  }
  // It is made for generation, hence the lengths: the last key of every context is at context − 1, and there is no
  // past.
  const batch = g.op('Shape', [q], { start: 0, end: 1 });
  const lastKeys = g.cast(g.op('Expand', [g.int(context - 1), batch]), 'int32');
  const total = g.cast(g.int(context), 'int32');
  const attributes = { num_heads: heads, local_window_size: local ?? -1, ...shared };
  return g.ops('GroupQueryAttention', [q, k, v, '', '', lastKeys, total], 3, attributes, { domain: MICROSOFT })[0]!;
}

/** bool [context, context]: true where query i and key j ≤ i are less than `window` apart. */
function nearerThan(g: GraphBuilder, window: number, context: number): Value {
  const range = g.op('Range', [g.int(0), g.int(context), g.int(1)]);
  const distance = g.sub(g.reshape(range, context, 1), g.reshape(range, 1, context));
  return g.op('Less', [distance, g.int(window)]);
}

/** Min queries per chunk; a context has at most `MOST_CHUNKS` of them, so that the graph stays small. */
const QUERY_CHUNK = 128;
const MOST_CHUNKS = 16;

/** Queries [first, last) with the keys [firstKey, last) that they attend to. */
interface QueryChunk {
  readonly first: number;
  readonly last: number;
  readonly firstKey: number;
}

/**
 * Causal attention by chunks of queries, each only against the keys it can attend to: half of the products of full
 * causal attention, fewer with a window. Keys visible to only part of a chunk are masked.
 */
function chunkedAttention(g: GraphBuilder, shape: AttentionShape, inputs: AttentionInputs): Value {
  const chunks = chunksOf(inputs.context, inputs.window);
  return shape.attentionSoftcap === null
    ? byOperator(g, shape, inputs, chunks)
    : byProducts(g, shape, shape.attentionSoftcap, inputs, chunks);
}

export function chunksOf(context: number, window: number | null): QueryChunk[] {
  const size = QUERY_CHUNK * Math.ceil(context / (QUERY_CHUNK * MOST_CHUNKS));
  return Array.from({ length: Math.ceil(context / size) }, (_, i) => {
    const first = i * size;
    const firstKey = window === null ? 0 : Math.max(0, first - window + 1);
    return { first, last: Math.min(first + size, context), firstKey };
  });
}

function byOperator(
  g: GraphBuilder,
  shape: AttentionShape,
  inputs: AttentionInputs,
  chunks: readonly QueryChunk[],
): Value {
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

/** The same written out: ONNX Runtime's operators compute the tanh of a cap one by one, Tanh itself uses SIMD. */
function byProducts(
  g: GraphBuilder,
  shape: AttentionShape,
  cap: number,
  { q, k, v, context, window }: AttentionInputs,
  chunks: readonly QueryChunk[],
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

/** bool [queries, keys]: true if key j ≤ query i and i − j < `window`. ONNX Runtime computes it once. */
function visible(g: GraphBuilder, { first, last, firstKey }: QueryChunk, window: number | null): Value {
  const range = (from: number) => g.op('Range', [g.int(from), g.int(last), g.int(1)]);
  const distance = g.sub(g.reshape(range(first), -1, 1), g.reshape(range(firstKey), 1, -1));
  const past = g.op('GreaterOrEqual', [distance, g.int(0)]);
  return window === null ? past : g.op('And', [past, g.op('Less', [distance, g.int(window)])]);
}
