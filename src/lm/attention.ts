import { type GraphBuilder, MICROSOFT, type Value } from '../onnx/graph.js';
import type { Attribute } from '../onnx/messages.js';
import type { Device } from '../onnx/session.js';
import { chunkedAttention } from './chunked-attention.js';
import type { GemmaConfig } from './gemma-config.js';
import type { Precision } from './precision.js';

/**
 * How attention is computed; measurements are in docs/architecture.md. In chunks of queries is the quickest on the CPU.
 * GroupQueryAttention has flash kernels on CUDA, for half precision only, and everywhere takes only head sizes that are
 * multiples of 8.
 */
export type AttentionForm = 'chunks' | 'GroupQueryAttention' | 'Attention';

export function attentionForm(device: Device, precision: Precision, headDim: number): AttentionForm {
  if (device === 'cpu' && precision === 'float32') return 'chunks';
  const kernel = device === 'cpu' || (device.startsWith('cuda') && precision !== 'float32');
  return kernel && headDim % 8 === 0 ? 'GroupQueryAttention' : 'Attention';
}

/** What attention of one layer is computed from. */
export interface AttentionInputs {
  /** [batch, context, heads × headDim], rotated. */
  readonly q: Value;
  /** [batch, context, kvHeads × headDim], rotated. */
  readonly k: Value;
  readonly v: Value;
  readonly context: number;
  /** Tokens seen, the own one included; null: all before it. */
  readonly window: number | null;
}

/** Sizes and constants of attention. */
export type AttentionShape = Pick<GemmaConfig, 'heads' | 'kvHeads' | 'headDim' | 'attentionScale' | 'attentionSoftcap'>;

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
  // It is made for generation, hence the lengths: every context has its last key at context − 1, and there is no past.
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
