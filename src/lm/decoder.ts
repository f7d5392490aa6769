import type { GraphBuilder, Value } from '../onnx/graph.js';
import { type AttentionForm, type AttentionShape, attentionForm } from './attention.js';
import { AttentionHooks } from './attention-hooks.js';
import type { BosPolicy, ModelConfig, ModelGraph, TensorNames } from './family.js';
import { type Hook, type HookFunction, type HookOfBlock, hookOfBlock, hooksOfModel, isOnResidual } from './hooks.js';
import { type Activation, FinalNorm, gatedMlp, headNorm, hookedRmsNorm, normWeight, rmsNorm } from './layers.js';
import type { ModelWriter } from './model-writer.js';
import { type Rope, Rotary, ropeShape } from './rope.js';

// The decoder shared by Gemma 1 to 3, Llama, Qwen and Mistral: RMS norms, rotary grouped-query attention, and a gated
// MLP; tensors have Hugging Face's names. DecoderForm describes the differences between families.

/** Differences between the families' decoders. */
export interface DecoderForm {
  /** The family and its generation, named as in its papers. */
  readonly name: string;
  /** Norm weights are stored as offsets from 1. */
  readonly normOffset: boolean;
  /** Name of the norm before the MLP. */
  readonly mlpNorm: 'post_attention_layernorm' | 'pre_feedforward_layernorm';
  /** Attention's and the MLP's outputs are also normalised before they are added to the residual stream. */
  readonly postNorms: boolean;
  /** Queries and keys are normalised per head before rotation. */
  readonly qkNorms: boolean;
  readonly activation: Activation;
  /** Embeddings are multiplied by √hidden. */
  readonly scaledEmbedding: boolean;
}

/** Attention settings of one layer. */
export interface LayerAttention {
  /** Attention window including the current token; null: full causal attention. */
  readonly window: number | null;
  readonly rope: Rope;
}

/** Settings of config.json that determine the graph, in one notation. */
export interface DecoderNumbers extends AttentionShape {
  readonly form: DecoderForm;
  readonly layers: number;
  readonly hidden: number;
  /** d_ff, the width of the gated MLP. */
  readonly mlp: number;
  readonly vocabulary: number;
  readonly maxContext: number;
  readonly rmsNormEps: number;
  /** Logits become cap · tanh(logit / cap); null: no soft-cap. */
  readonly logitSoftcap: number | null;
  /** One entry per layer. */
  readonly attention: readonly LayerAttention[];
  readonly tiedHead: boolean;
  /** Which projections have a bias. */
  readonly biases: { readonly qkv: boolean; readonly out: boolean; readonly mlp: boolean };
  readonly bosTokenId: number;
  readonly special: ModelConfig['special'];
}

export type DecoderConfig = ModelConfig & DecoderNumbers;

/** Builds a model's description from its settings. */
export function decoderOf<N extends DecoderNumbers>(numbers: N, bos: BosPolicy): ModelConfig & N {
  const { layers, hidden, heads, kvHeads, headDim, mlp } = numbers;
  const block = hidden * (2 * (heads + kvHeads) * headDim + 3 * mlp);
  const config: ModelConfig & N = {
    ...numbers,
    family: numbers.form.name,
    bos,
    hooks: hooksOfModel(numbers, () => ({
      hook_resid_pre: hidden,
      'ln1.hook_normalized': hidden,
      'attn.hook_q': heads * headDim,
      'attn.hook_k': kvHeads * headDim,
      'attn.hook_v': kvHeads * headDim,
      'attn.hook_z': heads * headDim,
      hook_attn_out: hidden,
      hook_resid_mid: hidden,
      'ln2.hook_normalized': hidden,
      'mlp.hook_in': hidden,
      'mlp.hook_pre': mlp,
      'mlp.hook_pre_linear': mlp,
      'mlp.hook_post': mlp,
      hook_mlp_out: hidden,
      hook_resid_post: hidden,
    })),
    costs: {
      blocks: Array.from({ length: layers }, () => block),
      widest: mlp,
      // The residual stream and its norm, plus attention (q, k, v, the scores) or the MLP (gate, up, their product).
      alive: (context) => 2 * hidden + Math.max((heads + 2 * kvHeads) * headDim + heads * context, 3 * mlp),
    },
    shape: shapeOf(numbers),
    names: DECODER_NAMES,
    tensors: () => tensorsOf(numbers),
    write: (writer) => new DecoderGraph(writer, numbers),
  };
  return config;
}

/** The settings that affect the model's output, in a fixed order. */
function shapeOf(c: DecoderNumbers): string {
  const sizes = [c.layers, c.hidden, c.heads, c.kvHeads, c.headDim, c.mlp, c.vocabulary];
  const constants = [c.rmsNormEps, c.attentionScale, c.attentionSoftcap, c.logitSoftcap, c.tiedHead, c.bosTokenId];
  const layers = c.attention.map(({ window, rope }) => [window, ...ropeShape(rope)]);
  return JSON.stringify([c.form.name, sizes, constants, layers]);
}

/** Tensor names common to Gemma, Llama and Qwen. */
export const DECODER_NAMES: TensorNames = {
  // Prefixes over the years: causal models, image-and-text models saved since and before transformers 4.52, and bare
  // language models.
  // language models.
  prefixes: ['model.', 'model.language_model.', 'language_model.model.', 'language_model.', ''],
  anchor: 'embed_tokens.weight',
  elsewhere: { 'lm_head.weight': ['lm_head.weight', 'language_model.lm_head.weight', 'model.lm_head.weight'] },
  blocks: 'layers.',
  derived: /\.rotary_emb\.inv_freq$/,
  typical: 'layers.0.mlp.gate_proj.weight',
};

/** Matrices are [out, in]. */
function tensorsOf(c: DecoderNumbers): Map<string, readonly number[]> {
  const tensors = new Map<string, readonly number[]>([
    ['embed_tokens.weight', [c.vocabulary, c.hidden]],
    ['norm.weight', [c.hidden]],
  ]);
  if (!c.tiedHead) tensors.set('lm_head.weight', [c.vocabulary, c.hidden]);
  for (let layer = 0; layer < c.layers; layer++) {
    const set = (name: string, ...shape: number[]) => tensors.set(`layers.${layer}.${name}.weight`, shape);
    const matrix = (name: string, out: number, into: number, bias: boolean) => {
      set(name, out, into);
      if (bias) tensors.set(`layers.${layer}.${name}.bias`, [out]);
    };
    set('input_layernorm', c.hidden);
    matrix('self_attn.q_proj', c.heads * c.headDim, c.hidden, c.biases.qkv);
    matrix('self_attn.k_proj', c.kvHeads * c.headDim, c.hidden, c.biases.qkv);
    matrix('self_attn.v_proj', c.kvHeads * c.headDim, c.hidden, c.biases.qkv);
    matrix('self_attn.o_proj', c.hidden, c.heads * c.headDim, c.biases.out);
    if (c.form.qkNorms) {
      set('self_attn.q_norm', c.headDim);
      set('self_attn.k_norm', c.headDim);
    }
    if (c.form.postNorms) set('post_attention_layernorm', c.hidden);
    set(c.form.mlpNorm, c.hidden);
    if (c.form.postNorms) set('post_feedforward_layernorm', c.hidden);
    matrix('mlp.gate_proj', c.mlp, c.hidden, c.biases.mlp);
    matrix('mlp.up_proj', c.mlp, c.hidden, c.biases.mlp);
    matrix('mlp.down_proj', c.hidden, c.mlp, c.biases.mlp);
  }
  return tensors;
}

class DecoderGraph implements ModelGraph {
  private readonly attentionForm: AttentionForm;
  private readonly rotary: Rotary;
  private readonly final: FinalNorm;

  constructor(
    private readonly writer: ModelWriter,
    private readonly config: DecoderNumbers,
  ) {
    const { device, precision } = writer.placement;
    this.attentionForm = attentionForm(device, precision, config.headDim);
    this.rotary = new Rotary(writer, config.headDim);
    const norm = { ...this.rms, width: config.hidden };
    this.final = new FinalNorm((x, hook) =>
      hookedRmsNorm(writer, x, 'norm.weight', norm, [hook, 'ln_final.hook_normalized']),
    );
  }

  residual(tokens: Value, hook: HookFunction): Value {
    let x = hook('hook_embed', this.embed(tokens));
    for (let layer = 0; layer < this.config.layers; layer++) x = this.block(layer, x, hook);
    return this.final.show(x, hook);
  }

  finalNorm(x: Value): Value {
    return this.final.of(x);
  }

  logits(hidden: Value, body: GraphBuilder = this.writer.g): Value {
    const { logitSoftcap: cap } = this.config;
    const logits = this.unembed(hidden, body);
    if (cap === null) return logits;
    return body.mul(body.op('Tanh', [body.mul(logits, body.scalar(1 / cap))]), body.scalar(cap));
  }

  directLogits({ layer, site }: Hook, directions: Value): Value | null {
    const { writer } = this;
    const { g } = writer;
    const added = this.addedToResidual(`layers.${layer}`, site, directions);
    return added && this.unembed(g.mul(added, normWeight(writer, 'norm.weight', this.rms)), g);
  }

  /** Logits before their soft-cap. */
  private unembed(hidden: Value, body: GraphBuilder): Value {
    const { writer } = this;
    const matrix = this.config.tiedHead ? 'embed_tokens.weight' : 'lm_head.weight';
    const unembedding = writer.weight(matrix, writer.placement.precision);
    return writer.wide(body.matmul(writer.narrow(hidden, body), unembedding, { transB: true }), body);
  }

  /** Directions at a site of a block as added to the residual stream; null if there is no linear path. */
  private addedToResidual(weights: string, site: Hook['site'], directions: Value): Value | null {
    const { writer } = this;
    const projected = (matrix: string, norm: string) => {
      const out = writer.wide(writer.linear(writer.narrow(directions), `${weights}.${matrix}.weight`));
      if (!this.config.form.postNorms) return out;
      return writer.g.mul(out, normWeight(writer, `${weights}.${norm}.weight`, this.rms));
    };
    if (isOnResidual(site)) return directions;
    if (site === 'attn.hook_z') return projected('self_attn.o_proj', 'post_attention_layernorm');
    if (site === 'mlp.hook_post') return projected('mlp.down_proj', 'post_feedforward_layernorm');
    return null;
  }

  /** If embeddings are scaled by √hidden, transformers rounds that factor to the model's precision, and so do we. */
  private embed(tokens: Value): Value {
    const { writer, config } = this;
    const { g } = writer;
    const rows = g.gather(writer.stored('embed_tokens.weight'), tokens);
    if (!config.form.scaledEmbedding) return g.cast(rows, 'float32');
    const scale = g.scalar(Math.sqrt(config.hidden));
    return g.mul(g.cast(rows, 'float32'), writer.wide(writer.narrow(scale)));
  }

  private block(layer: number, input: Value, onHook: HookFunction): Value {
    const { writer, config } = this;
    const { hidden, biases, form } = config;
    const hook = hookOfBlock(layer, onHook);
    const weights = `layers.${layer}`;
    const norm = (x: Value, name: string) => rmsNorm(writer, x, `${weights}.${name}.weight`, this.rms);

    const residPre = writer.foldVariants(hook('hook_resid_pre', input), hidden);
    const attended = this.attention(layer, residPre, hook);
    const z = writer.hookBetween(hook, 'attn.hook_z', attended);
    const out = `${weights}.self_attn.o_proj`;
    const headsOut = writer.wide(writer.linear(z, `${out}.weight`, biases.out ? `${out}.bias` : undefined));
    // hook_attn_out is what is added to the residual stream: after the post norm if there is one.
    const attnOut = hook('hook_attn_out', form.postNorms ? norm(headsOut, 'post_attention_layernorm') : headsOut);
    const residMid = hook('hook_resid_mid', writer.g.add(residPre, attnOut));

    const normOf = { ...this.rms, width: hidden };
    const mlpNorm = `${weights}.${form.mlpNorm}.weight`;
    const normalised = hookedRmsNorm(writer, residMid, mlpNorm, normOf, [hook, 'ln2.hook_normalized']);
    const mlpIn = hook('mlp.hook_in', normalised);
    const matrix = (name: string) => `${weights}.mlp.${name}_proj`;
    const matrices = { gate: matrix('gate'), up: matrix('up'), down: matrix('down') };
    const mlp = { ...matrices, activation: form.activation, biases: biases.mlp };
    const down = gatedMlp(writer, writer.narrow(mlpIn), mlp, hook);
    const mlpOut = hook('hook_mlp_out', form.postNorms ? norm(down, 'post_feedforward_layernorm') : down);
    return writer.foldVariants(hook('hook_resid_post', writer.g.add(residMid, mlpOut)), hidden);
  }

  /** Causal attention of the residual stream [batch, context, hidden] → z [batch, context, heads × headDim]. */
  private attention(layer: number, residPre: Value, onHook: HookOfBlock): Value {
    const { writer, config } = this;
    const { heads, kvHeads, headDim, hidden, biases, form } = config;
    const { window, rope } = config.attention[layer]!;
    const [queries, keys] = [heads * headDim, kvHeads * headDim];
    const widths = { 'ln1.hook_normalized': hidden, 'attn.hook_q': queries, 'attn.hook_k': keys, 'attn.hook_v': keys };
    const hooks = new AttentionHooks(writer, onHook, widths);
    const normOf = { ...this.rms, width: hidden };
    const inputNorm = `layers.${layer}.input_layernorm.weight`;
    const normalised = hookedRmsNorm(writer, residPre, inputNorm, normOf, [hooks.hook, 'ln1.hook_normalized']);
    const x = writer.narrow(normalised);
    const positions = writer.positions(x);
    const projected = (name: 'q' | 'k' | 'v') => {
      const matrix = `layers.${layer}.self_attn.${name}_proj`;
      const value = writer.linear(x, `${matrix}.weight`, biases.qkv ? `${matrix}.bias` : undefined);
      return hooks.between(`attn.hook_${name}`, value);
    };
    const rotated = (name: 'q' | 'k', count: number) => {
      let value = writer.wide(projected(name));
      if (form.qkNorms) {
        const weight = `layers.${layer}.self_attn.${name}_norm.weight`;
        value = headNorm(writer, value, weight, { ...this.rms, heads: count, headDim });
      }
      const at = hooks.has(`attn.hook_${name}`) ? writer.positions(value) : positions;
      return writer.narrow(this.rotary.rotate(value, count, rope, at));
    };
    const q = rotated('q', heads);
    const k = rotated('k', kvHeads);
    const v = projected('v');
    const even = (value: Value, name: 'q' | 'k' | 'v') =>
      hooks.even(value, name === 'q' ? queries : keys, 'ln1.hook_normalized', `attn.hook_${name}`);
    const inputs = { q: even(q, 'q'), k: even(k, 'k'), v: even(v, 'v'), context: writer.context, window };
    return hooks.attend(this.attentionForm, config, inputs, layer);
  }

  private get rms() {
    return { epsilon: this.config.rmsNormEps, offset: this.config.form.normOffset };
  }
}
