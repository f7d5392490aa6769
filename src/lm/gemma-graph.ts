import type { GraphBuilder, Value } from '../onnx/graph.js';
import type { DType } from '../onnx/messages.js';
import { storedWeight, weightAs } from '../onnx/weight.js';
import { type AttentionForm, attention, attentionForm } from './attention.js';
import type { Checkpoint } from './checkpoint.js';
import { type HookSite, hookName } from './hooks.js';
import type { Placement } from './pass.js';
import { type Rope, ropeTables } from './rope.js';

/**
 * Called at every hook point with its value [..., width] in float32; what it returns takes the value's place. It may
 * record the value (harvest), or return a tall one with a leading dimension of variants (splice-in): later operations
 * broadcast over that dimension, and the end of the block folds it into the batch.
 */
export type HookFunction = (name: string, value: Value) => Value;

/** One layer's matrix product: x [..., in] times the weight of that name, in the precision of the graph. */
type Linear = (x: Value, name: string) => Value;

/**
 * The transformer of any Gemma (gemma-config.ts says what differs), written into `g` from Hugging Face weights as they lie
 * on disk. Matrices are multiplied in the placement's precision; the residual stream, norms, rotations and activation
 * functions are float32.
 */
export class GemmaGraph {
  private readonly form: AttentionForm;

  constructor(
    private readonly g: GraphBuilder,
    private readonly checkpoint: Checkpoint,
    /** Tokens a context; fixed, so that reshapes need no shape arithmetic. */
    private readonly context: number,
    private readonly placement: Placement = { device: 'cpu', precision: 'float32' },
  ) {
    this.form = attentionForm(placement.device, placement.precision, checkpoint.config.headDim);
  }

  /**
   * Tokens to the residual stream after the last block.
   *
   * @param tokens int64 [batch, context]
   * @returns float32 [variants × batch, context, hidden]
   */
  residual(tokens: Value, hook: HookFunction): Value {
    let x = this.embed(tokens);
    for (let layer = 0; layer < this.checkpoint.config.layers; layer++) x = this.block(layer, x, hook);
    return x;
  }

  /** Final norm, before the unembedding. */
  finalNorm(x: Value): Value {
    return this.rmsNorm(x, 'norm.weight');
  }

  /**
   * Logits, capped where the family caps them.
   *
   * @param hidden float32 [..., hidden] after the final norm
   * @param body the builder of the Loop that `hidden` is a value of, if it is
   * @returns float32 [..., vocabulary]
   */
  logits(hidden: Value, body: GraphBuilder = this.g): Value {
    const { tiedHead, logitSoftcap: cap } = this.checkpoint.config;
    const unembedding = this.weight(tiedHead ? 'embed_tokens.weight' : 'lm_head.weight', this.placement.precision);
    const narrow = this.placement.precision === 'float32' ? hidden : body.cast(hidden, this.placement.precision);
    const product = body.matmul(narrow, unembedding, { transB: true });
    const logits = this.placement.precision === 'float32' ? product : body.cast(product, 'float32');
    if (cap === null) return logits;
    return body.mul(body.op('Tanh', [body.mul(logits, body.scalar(1 / cap))]), body.scalar(cap));
  }

  /** Embeddings are scaled by √hidden; transformers rounds that factor to the precision of the model, so do we. */
  private embed(tokens: Value): Value {
    const { g } = this;
    const rows = g.gather(this.stored('embed_tokens.weight'), tokens);
    const scale = g.scalar(Math.sqrt(this.checkpoint.config.hidden));
    return g.mul(g.cast(rows, 'float32'), this.wide(this.narrow(scale)));
  }

  private block(layer: number, input: Value, onHook: HookFunction): Value {
    const { g } = this;
    const { postNorms } = this.checkpoint.config.family;
    const hook = (site: HookSite, value: Value) => onHook(hookName(layer, site), value);
    /** A hook on the way from one product to the next: nothing is cast there and back where nothing was replaced. */
    const hookBetween = (site: HookSite, value: Value) => {
      const seen = this.wide(value);
      const returned = hook(site, seen);
      return returned === seen ? value : this.narrow(returned);
    };
    const linear: Linear = (x, name) =>
      g.matmul(x, this.weight(`layers.${layer}.${name}.weight`, this.placement.precision), { transB: true });
    const norm = (x: Value, name: string) => this.rmsNorm(x, `layers.${layer}.${name}.weight`);

    const residPre = this.foldVariants(hook('hook_resid_pre', input));
    const attended = this.attention(layer, this.narrow(norm(residPre, 'input_layernorm')), linear);
    const z = hookBetween('attn.hook_z', attended);
    const headsOut = this.wide(linear(z, 'self_attn.o_proj'));
    // What hook_attn_out shows is what is added to the residual stream: after the post norm where there is one.
    const attnOut = hook('hook_attn_out', postNorms ? norm(headsOut, 'post_attention_layernorm') : headsOut);
    const residMid = hook('hook_resid_mid', g.add(residPre, attnOut));

    const mlpNorm = postNorms ? 'pre_feedforward_layernorm' : 'post_attention_layernorm';
    const mlpIn = this.narrow(norm(residMid, mlpNorm));
    const gate = hookBetween('mlp.hook_pre', linear(mlpIn, 'mlp.gate_proj'));
    const activated = this.narrow(g.op('Gelu', [this.wide(gate)], { approximate: 'tanh' }));
    const up = hookBetween('mlp.hook_pre_linear', linear(mlpIn, 'mlp.up_proj'));
    const post = hookBetween('mlp.hook_post', g.mul(activated, up));
    const down = this.wide(linear(post, 'mlp.down_proj'));
    const mlpOut = hook('hook_mlp_out', postNorms ? norm(down, 'post_feedforward_layernorm') : down);
    return this.foldVariants(hook('hook_resid_post', g.add(residMid, mlpOut)));
  }

  /** Causal attention over heads [batch, context, hidden] → z [batch, context, heads × headDim]. */
  private attention(layer: number, x: Value, linear: Linear): Value {
    const { g, context } = this;
    const { config } = this.checkpoint;
    const { heads, kvHeads, family, attention: layers } = config;
    const { window, rope } = layers[layer]!;
    const positions = this.positions(x);
    const rotated = (name: string, count: number) => {
      let value = this.wide(linear(x, `self_attn.${name}_proj`));
      if (family.qkNorms) value = this.headNorm(value, `layers.${layer}.self_attn.${name}_norm.weight`, count);
      return this.narrow(g.op('RotaryEmbedding', [value, ...this.ropeTables(rope), positions], { num_heads: count }));
    };
    const q = rotated('q', heads);
    const k = rotated('k', kvHeads);
    const v = linear(x, 'self_attn.v_proj');
    return attention(g, this.form, config, { q, k, v, context, window });
  }

  /** RMS norm of each head, [batch, context, count × headDim]. */
  private headNorm(x: Value, name: string, count: number): Value {
    const { headDim } = this.checkpoint.config;
    const byHead = this.g.reshape(x, -1, this.context, count, headDim);
    return this.g.reshape(this.rmsNorm(byHead, name), -1, this.context, count * headDim);
  }

  /** 0 … context − 1 for each row of the batch of x. */
  private positions(x: Value): Value {
    const batchAndContext = this.g.op('Shape', [x], { start: 0, end: 2 });
    const range = this.g.op('Range', [this.g.int(0), this.g.int(this.context), this.g.int(1)]);
    return this.g.op('Expand', [range, batchAndContext]);
  }

  private readonly tables = new Map<string, [Value, Value]>();

  /** Tables of a rotary embedding; layers that rotate alike share them. */
  private ropeTables(rope: Rope): [Value, Value] {
    const key = `${rope.theta}/${rope.factor}`;
    const made = this.tables.get(key) ?? ropeTables(this.g, rope, this.context, this.checkpoint.config.headDim);
    this.tables.set(key, made);
    return made;
  }

  /** x / √(mean x² + ε) · (1 + w) in float32: Gemma stores its norm weights as offsets from 1. */
  private rmsNorm(x: Value, name: string): Value {
    const scale = this.g.add(this.weight(name, 'float32'), this.g.scalar(1));
    return this.g.op('RMSNormalization', [x, scale], {
      axis: -1,
      epsilon: { float: this.checkpoint.config.rmsNormEps },
    });
  }

  /** [variants, batch, context, hidden] or [batch, context, hidden] → [variants × batch, context, hidden]. */
  private foldVariants(x: Value): Value {
    return this.g.reshape(x, -1, this.context, this.checkpoint.config.hidden);
  }

  /** From float32 to the precision of the products. */
  private narrow(x: Value): Value {
    return this.placement.precision === 'float32' ? x : this.g.cast(x, this.placement.precision);
  }

  /** From the precision of the products to float32. */
  private wide(x: Value): Value {
    return this.placement.precision === 'float32' ? x : this.g.cast(x, 'float32');
  }

  private readonly weights = new Map<string, Value>();

  /** A tensor in the given element type. */
  private weight(name: string, dtype: DType): Value {
    const key = `${name}/${dtype}`;
    const value = this.weights.get(key) ?? weightAs(this.g, dtype, this.stored(name), this.location(name));
    this.weights.set(key, value);
    return value;
  }

  private readonly storedWeights = new Map<string, Value>();

  /** A tensor in the element type of the checkpoint. */
  private stored(name: string): Value {
    const value = this.storedWeights.get(name) ?? storedWeight(this.g, name, this.location(name));
    this.storedWeights.set(name, value);
    return value;
  }

  private location(name: string) {
    return this.checkpoint.tensors.get(name)!;
  }
}
