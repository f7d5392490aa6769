import type { GraphBuilder, Value } from '../onnx/graph.js';
import { asFloat32, storedWeight } from '../onnx/weight.js';
import type { Checkpoint } from './checkpoint.js';
import { type HookSite, hookName } from './hooks.js';

/**
 * Called at every hook point with its value [..., width]; what it returns takes the value's place. It may record the
 * value (harvest), or return a tall one with a leading dimension of variants (splice-in): later operations broadcast
 * over that dimension, and the end of the block folds it into the batch.
 */
export type HookFunction = (name: string, value: Value) => Value;

/**
 * The transformer of Gemma 1 (Gemma Team 2024, arXiv 2403.08295), written into `g` in float32 from Hugging Face
 * weights as they lie on disk.
 */
export class GemmaGraph {
  private readonly ropeCaches: readonly [Value, Value];

  constructor(
    private readonly g: GraphBuilder,
    private readonly checkpoint: Checkpoint,
    /** Tokens a context; fixed, so that reshapes need no shape arithmetic. */
    private readonly context: number,
  ) {
    this.ropeCaches = this.ropeTables();
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

  /** The unembedding matrix, float32 [vocabulary, hidden]. */
  unembedding(): Value {
    return this.weight(this.checkpoint.config.tiedHead ? 'embed_tokens.weight' : 'lm_head.weight');
  }

  /** Embeddings are scaled by √hidden. */
  private embed(tokens: Value): Value {
    const rows = this.g.gather(this.stored('embed_tokens.weight'), tokens);
    return this.g.mul(this.g.cast(rows, 'float32'), this.g.scalar(Math.sqrt(this.checkpoint.config.hidden)));
  }

  private block(layer: number, input: Value, onHook: HookFunction): Value {
    const { g } = this;
    const hook = (site: HookSite, value: Value) => onHook(hookName(layer, site), value);
    const weight = (name: string) => this.weight(`layers.${layer}.${name}.weight`);
    const linear = (x: Value, name: string) => g.matmul(x, weight(name), { transB: true });

    const residPre = this.foldVariants(hook('hook_resid_pre', input));
    const normed = this.rmsNorm(residPre, `layers.${layer}.input_layernorm.weight`);
    const z = hook('attn.hook_z', this.attention(normed, linear));
    const attnOut = hook('hook_attn_out', linear(z, 'self_attn.o_proj'));
    const residMid = hook('hook_resid_mid', g.add(residPre, attnOut));

    const mlpIn = this.rmsNorm(residMid, `layers.${layer}.post_attention_layernorm.weight`);
    const gate = hook('mlp.hook_pre', linear(mlpIn, 'mlp.gate_proj'));
    const up = hook('mlp.hook_pre_linear', linear(mlpIn, 'mlp.up_proj'));
    const post = hook('mlp.hook_post', g.mul(g.op('Gelu', [gate], { approximate: 'tanh' }), up));
    const mlpOut = hook('hook_mlp_out', linear(post, 'mlp.down_proj'));
    return this.foldVariants(hook('hook_resid_post', g.add(residMid, mlpOut)));
  }

  /** Causal attention over heads [batch, context, hidden] → z [batch, context, heads × headDim]. */
  private attention(x: Value, linear: (x: Value, name: string) => Value): Value {
    const { g } = this;
    const { heads, kvHeads, headDim } = this.checkpoint.config;
    const positions = this.positions(x);
    const rotated = (name: string, count: number) =>
      g.op('RotaryEmbedding', [linear(x, name), ...this.ropeCaches, positions], { num_heads: count });
    const q = rotated('self_attn.q_proj', heads);
    const k = rotated('self_attn.k_proj', kvHeads);
    const v = linear(x, 'self_attn.v_proj');
    return g.op('Attention', [q, k, v], {
      is_causal: 1,
      q_num_heads: heads,
      kv_num_heads: kvHeads,
      scale: { float: 1 / Math.sqrt(headDim) },
    });
  }

  /** 0 … context − 1 for each row of the batch of x. */
  private positions(x: Value): Value {
    const batchAndContext = this.g.op('Shape', [x], { start: 0, end: 2 });
    const range = this.g.op('Range', [this.g.int(0), this.g.int(this.context), this.g.int(1)]);
    return this.g.op('Expand', [range, batchAndContext]);
  }

  /** Cosines and sines of position · θ^(−2i / headDim), [context, headDim / 2] each (Su et al. 2021). */
  private ropeTables(): readonly [Value, Value] {
    const { headDim, ropeTheta } = this.checkpoint.config;
    const half = headDim / 2;
    const cos = new Float32Array(this.context * half);
    const sin = new Float32Array(this.context * half);
    for (let position = 0; position < this.context; position++) {
      for (let i = 0; i < half; i++) {
        // transformers computes frequencies and angles in float32; so do we, or long contexts would drift apart.
        const frequency = Math.fround(1 / Math.fround(ropeTheta ** Math.fround((2 * i) / headDim)));
        const angle = Math.fround(position * frequency);
        cos[position * half + i] = Math.cos(angle);
        sin[position * half + i] = Math.sin(angle);
      }
    }
    return [this.g.table('rope_cos', [this.context, half], cos), this.g.table('rope_sin', [this.context, half], sin)];
  }

  /** x / √(mean x² + ε) · (1 + w): Gemma stores its norm weights as offsets from 1. */
  private rmsNorm(x: Value, name: string): Value {
    const scale = this.g.add(this.weight(name), this.g.scalar(1));
    return this.g.op('RMSNormalization', [x, scale], {
      axis: -1,
      epsilon: { float: this.checkpoint.config.rmsNormEps },
    });
  }

  /** [variants, batch, context, hidden] or [batch, context, hidden] → [variants × batch, context, hidden]. */
  private foldVariants(x: Value): Value {
    return this.g.reshape(x, -1, this.context, this.checkpoint.config.hidden);
  }

  private readonly weights = new Map<string, Value>();

  /** A tensor as float32. */
  private weight(name: string): Value {
    let value = this.weights.get(name);
    if (!value) {
      value = asFloat32(this.g, this.stored(name), this.checkpoint.tensors.get(name)!);
      this.weights.set(name, value);
    }
    return value;
  }

  private readonly storedWeights = new Map<string, Value>();

  /** A tensor in the element type of the checkpoint. */
  private stored(name: string): Value {
    let value = this.storedWeights.get(name);
    if (!value) {
      const location = this.checkpoint.tensors.get(name)!;
      value = storedWeight(this.g, name, location);
      this.storedWeights.set(name, value);
    }
    return value;
  }
}
