import type { GraphBuilder, Value } from '../onnx/graph.js';
import type { AttentionShape } from './attention.js';

/** A layer's key-value cache: float32 [tokens, batch, kvHeads, headDim] each. */
export interface KeptLayer {
  readonly layer: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** Attention window including the current token; null: full causal attention. */
  readonly window: number | null;
}

/** Names of a layer's inputs (the cache) and outputs (rows of this step's tokens). */
export const keptNames = (layer: number) => ({
  past: { k: `past_k/${layer}`, v: `past_v/${layer}` },
  fresh: { k: `new_k/${layer}`, v: `new_v/${layer}` },
});

/** Queries, keys and values of this step's tokens, rotated; float32 [batch, new, heads × headDim]. */
interface StepInputs {
  readonly q: Value;
  readonly k: Value;
  readonly v: Value;
  readonly window: number | null;
}

/** Added to the score of a masked key. */
const HIDDEN = -1e30;

/**
 * A model that processes tokens one step at a time: their positions in the texts, and attention over cached keys and
 * values. Every row of a batch has the same number of tokens; shorter texts are padded at the beginning, and padding is
 * masked.
 *
 * A layer's cache is an input of any length; its last row belongs to the token before this step, so earlier rows
 * outside of the window may be omitted. Only the rows of this step are outputs.
 */
export class Past {
  /** Layers that compute their own keys, in graph order. */
  readonly layers: KeptLayer[] = [];
  /** Positions of this step's tokens in their texts, without padding: int64 [batch, new]. */
  readonly positions: Value;
  /** Max tokens of a text. */
  readonly longest: number;
  /** Positions of this step's tokens in the batch, including padding: int64 [new]. */
  private readonly places: Value;
  private readonly first: Value;
  private readonly pads: Value;
  private readonly kept = new Map<number, readonly [k: Value, v: Value]>();
  private readonly masks = new Map<number | null, Value>();

  /**
   * @param step `tokens` int64 [batch, new]; `first` int64 [1], tokens in earlier steps, including padding; `pads`
   * int64 [batch], padding tokens of each row
   */
  constructor(
    private readonly g: GraphBuilder,
    step: { readonly tokens: Value; readonly first: Value; readonly pads: Value; readonly longest: number },
  ) {
    this.first = step.first;
    this.longest = step.longest;
    this.pads = g.op('Unsqueeze', [step.pads, g.ints(1)]);
    this.places = g.add(this.range(g.op('Shape', [step.tokens], { start: 1, end: 2 })), step.first);
    this.positions = g.op('Max', [g.sub(this.places, this.pads), g.int(0)]);
  }

  /**
   * softmax(cap(q kᵀ · scale) + mask) v over all tokens up to each query, → float32 [batch, new, heads × headDim].
   *
   * @param layer whose keys and values are used; if it occurred earlier in the graph, `k` and `v` are ignored
   */
  attention(shape: AttentionShape, { q, k, v, window }: StepInputs, layer: number): Value {
    const { g } = this;
    const { heads, kvHeads, headDim, attentionScale, attentionSoftcap: cap } = shape;
    const group = heads / kvHeads;
    const [keys, values] = this.kept.get(layer) ?? this.keep({ layer, kvHeads, headDim, window }, k, v);
    // Heads that share a key are rows of one product: [batch, kvHeads, group × new, headDim].
    const scaled = g.mul(q, g.scalar(cap === null ? attentionScale : attentionScale / cap));
    const byHead = g.op('Transpose', [g.reshape(scaled, 0, 0, kvHeads, group, headDim)], { perm: [0, 2, 3, 1, 4] });
    const products = g.matmul(g.reshape(byHead, 0, 0, -1, headDim), keys, { transB: true });
    const scores = cap === null ? products : g.mul(g.op('Tanh', [products]), g.scalar(cap));
    const length = g.op('Shape', [keys], { start: 2, end: 3 });
    const shaped = (value: Value, ...front: number[]) =>
      g.op('Reshape', [value, g.concat([g.ints(...front), length], 0)]);
    const masked = g.add(shaped(scores, 0, 0, group, -1), this.mask(window, length));
    const weights = g.op('Softmax', [shaped(masked, 0, 0, -1)], { axis: -1 });
    const z = g.reshape(g.matmul(weights, values), 0, 0, group, -1, headDim);
    return g.reshape(g.op('Transpose', [z], { perm: [0, 3, 1, 2, 4] }), 0, 0, heads * headDim);
  }

  /** Reads a layer's cache, and outputs the new rows; returns all of it as [batch, kvHeads, tokens, headDim]. */
  private keep(kept: KeptLayer, k: Value, v: Value): readonly [k: Value, v: Value] {
    const { g } = this;
    const { layer, kvHeads, headDim } = kept;
    const { past, fresh } = keptNames(layer);
    const all = (name: 'k' | 'v', value: Value) => {
      const before = g.input(past[name], 'float32', [`kept/${layer}`, 'batch', kvHeads, headDim]);
      const rows = g.op('Transpose', [g.reshape(value, 0, 0, kvHeads, headDim)], { perm: [1, 0, 2, 3] });
      g.output(fresh[name], rows, 'float32', ['new', 'batch', kvHeads, headDim]);
      return g.op('Transpose', [g.concat([before, rows], 0)], { perm: [1, 2, 0, 3] });
    };
    const both = [all('k', k), all('v', v)] as const;
    this.layers.push(kept);
    this.kept.set(layer, both);
    return both;
  }

  /**
   * Mask added to scores, float32 [batch, 1, 1, new, tokens]; layers with the same window cache the same number of
   * tokens.
   */
  private mask(window: number | null, length: Value): Value {
    const { g } = this;
    const made = this.masks.get(window);
    if (made !== undefined) return made;
    const total = g.add(this.first, g.op('Shape', [this.places]));
    const keys = g.add(this.range(length), g.sub(total, length));
    const distance = g.sub(g.op('Unsqueeze', [this.places, g.ints(1)]), keys);
    const past = g.op('GreaterOrEqual', [distance, g.int(0)]);
    const near = window === null ? past : g.op('And', [past, g.op('Less', [distance, g.int(window)])]);
    const text = g.op('Unsqueeze', [g.op('GreaterOrEqual', [keys, this.pads]), g.ints(1)]);
    const seen = g.op('Where', [g.op('And', [near, text]), g.scalar(0), g.scalar(HIDDEN)]);
    const mask = g.op('Unsqueeze', [seen, g.ints(1, 2)]);
    this.masks.set(window, mask);
    return mask;
  }

  /** 0 … n − 1 of n, int64 [1]. */
  private range(n: Value): Value {
    const { g } = this;
    return g.op('Range', [g.int(0), g.op('Squeeze', [n]), g.int(1)]);
  }
}
