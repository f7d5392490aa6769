import { z } from 'zod';
import { checkJson } from '../../disk/json.js';
import type { GraphBuilder, Value } from '../../onnx/graph.js';
import { type AttentionForm, type AttentionShape, attention, attentionForm } from '../attention.js';
import {
  type ConfigFile,
  type Family,
  type ModelConfig,
  type ModelGraph,
  type TensorNames,
  type UnsupportedModel,
  unsupportedIn,
} from '../family.js';
import { type Hook, type HookFunction, hookOfBlock, hooksOfBlocks } from '../hooks.js';
import { gatedMlp, headNorm, hookedRmsNorm, normWeight, rmsNorm } from '../layers.js';
import type { ModelWriter } from '../model-writer.js';
import { type LayerType, parseRope, type Rope, Rotary } from '../rope.js';

// Gemma 1 (Gemma Team 2024, arXiv 2403.08295), Gemma 2 (arXiv 2408.00118) and the language model of Gemma 3
// (arXiv 2503.19786): config.json, tensors, hook points, and the graph.

/** What one generation of Gemma does otherwise than another; everything else about them is the same. */
interface Generation {
  /** As its papers call it. */
  readonly name: string;
  /** Attention's and the MLP's outputs are normalised, too, before they are added to the residual stream. */
  readonly postNorms: boolean;
  /** Queries and keys are normalised by head before they are rotated. */
  readonly qkNorms: boolean;
  /** Keys of config.json that say what the scores are divided by (squared) and how logits are capped. */
  readonly scaledBy: 'head_dim' | 'query_pre_attn_scalar';
  readonly softcaps: boolean;
  /** Every n-th layer attends to everything, the others to a window; null: all to everything. */
  readonly pattern: number | null;
  /** Base of the rotary frequencies where config.json gives none. */
  readonly ropeTheta: Readonly<Record<LayerType, number>>;
  /** Do the two types of layers have rotary parameters of their own? */
  readonly ropeByType: boolean;
  /** What keys mean that config.json leaves out, as transformers fills them in. */
  readonly defaults: Readonly<Record<string, number>>;
  /** Names of the MLP's activation function that mean GELU by its tanh approximation here. */
  readonly activations: readonly string[];
  /** Keys that other families have and this one's reference ignores: a file that sets one means something else. */
  readonly foreign: readonly string[];
}

const GEMMA_1: Generation = {
  name: 'Gemma 1',
  postNorms: false,
  qkNorms: false,
  scaledBy: 'head_dim',
  softcaps: false,
  pattern: null,
  ropeTheta: { full_attention: 10_000, sliding_attention: 10_000 },
  ropeByType: false,
  defaults: {},
  // Early files say "gelu" and mean the approximation; transformers reads them so, too.
  activations: ['gelu_pytorch_tanh', 'gelu'],
  foreign: ['query_pre_attn_scalar', 'attn_logit_softcapping', 'final_logit_softcapping', 'sliding_window'],
};

const GEMMA_2: Generation = {
  name: 'Gemma 2',
  postNorms: true,
  qkNorms: false,
  scaledBy: 'query_pre_attn_scalar',
  softcaps: true,
  pattern: 2,
  ropeTheta: { full_attention: 10_000, sliding_attention: 10_000 },
  ropeByType: false,
  defaults: {
    query_pre_attn_scalar: 256,
    attn_logit_softcapping: 50,
    final_logit_softcapping: 30,
    sliding_window: 4096,
  },
  activations: ['gelu_pytorch_tanh'],
  foreign: ['rope_local_base_freq'],
};

const GEMMA_3: Generation = {
  name: 'Gemma 3',
  postNorms: true,
  qkNorms: true,
  scaledBy: 'query_pre_attn_scalar',
  softcaps: false,
  pattern: 6,
  ropeTheta: { full_attention: 1_000_000, sliding_attention: 10_000 },
  ropeByType: true,
  // The text_config of the larger models says only what differs from these.
  defaults: {
    vocab_size: 262_208,
    hidden_size: 2304,
    intermediate_size: 9216,
    num_hidden_layers: 26,
    num_attention_heads: 8,
    num_key_value_heads: 4,
    head_dim: 256,
    max_position_embeddings: 131_072,
    rms_norm_eps: 1e-6,
    query_pre_attn_scalar: 256,
    sliding_window: 4096,
    bos_token_id: 2,
  },
  activations: ['gelu_pytorch_tanh'],
  foreign: ['attn_logit_softcapping', 'final_logit_softcapping'],
};

export const gemma1: Family = { parse: (file) => parseGemma(GEMMA_1, file) };
export const gemma2: Family = { parse: (file) => parseGemma(GEMMA_2, file) };
export const gemma3: Family = { parse: (file) => parseGemma(GEMMA_3, file) };

/** What attention does in one layer. */
interface LayerAttention {
  /** Tokens it sees, its own included; null: all before it. */
  readonly window: number | null;
  readonly rope: Rope;
}

/** What of config.json shapes the graph, in one spelling. */
export interface GemmaConfig extends ModelConfig, AttentionShape {
  readonly generation: Generation;
  /** d_ff, the width of the gated MLP. */
  readonly mlp: number;
  readonly rmsNormEps: number;
  /** Logits become cap · tanh(logit / cap); null: they stay as they are. */
  readonly logitSoftcap: number | null;
  /** One entry a layer. */
  readonly attention: readonly LayerAttention[];
  readonly tiedHead: boolean;
}

const size = z.number().int().positive();
const cap = z.number().positive().nullish();

const fileSchema = z.object({
  hidden_size: size,
  // A list is made of them before the weights can contradict it.
  num_hidden_layers: size.max(10_000),
  num_attention_heads: size,
  num_key_value_heads: size,
  head_dim: size,
  intermediate_size: size,
  vocab_size: size,
  max_position_embeddings: size,
  rms_norm_eps: z.number().positive(),
  bos_token_id: z.number().int().nonnegative(),
  eos_token_id: z.union([z.number(), z.array(z.number())]).nullish(),
  pad_token_id: z.number().nullish(),
  tie_word_embeddings: z.boolean().nullish(),
  hidden_act: z.string().nullish(),
  hidden_activation: z.string().nullish(),
  query_pre_attn_scalar: z.number().positive().nullish(),
  attn_logit_softcapping: cap,
  final_logit_softcapping: cap,
  sliding_window: size.nullish(),
  sliding_window_pattern: size.nullish(),
  layer_types: z.array(z.string()).nullish(),
  rope_theta: z.number().positive().nullish(),
  rope_local_base_freq: z.number().positive().nullish(),
  rope_scaling: z.unknown().optional(),
  rope_parameters: z.unknown().optional(),
});

/** Keys that change what a model computes, and that the graph does not have. */
const NOWHERE = ['attention_bias', 'mlp_bias', 'quantization_config', 'use_bidirectional_attention'] as const;

function parseGemma(generation: Generation, { path, keys, outer }: ConfigFile): GemmaConfig {
  const unsupported = unsupportedIn(path);
  for (const level of [outer, keys]) for (const key of NOWHERE) if (level[key]) unsupported(key, level[key]);
  for (const key of generation.foreign) if (keys[key] != null) unsupported(key, keys[key]);
  const remedy = 'Use the config.json that came with the checkpoint.';
  const file = checkJson(fileSchema, { ...generation.defaults, ...keys }, path, remedy);
  checkSizes(file, generation, unsupported);
  const tiedHead = (outer.tie_word_embeddings as boolean | null | undefined) ?? file.tie_word_embeddings ?? true;
  return modelOf({
    generation,
    layers: file.num_hidden_layers,
    hidden: file.hidden_size,
    heads: file.num_attention_heads,
    kvHeads: file.num_key_value_heads,
    headDim: file.head_dim,
    mlp: file.intermediate_size,
    vocabulary: file.vocab_size,
    maxContext: file.max_position_embeddings,
    rmsNormEps: file.rms_norm_eps,
    attentionScale: 1 / Math.sqrt(file[generation.scaledBy] ?? unsupported(generation.scaledBy, null)),
    attentionSoftcap: generation.softcaps ? (file.attn_logit_softcapping ?? null) : null,
    logitSoftcap: generation.softcaps ? (file.final_logit_softcapping ?? null) : null,
    attention: attentionOfLayers(file, generation, unsupported),
    tiedHead,
    bosTokenId: file.bos_token_id,
    special: new Map(
      // Below 0 stands for none.
      (['eos_token_id', 'pad_token_id'] as const).map((key) => [key, [file[key] ?? []].flat().filter((id) => id >= 0)]),
    ),
  });
}

type File = z.infer<typeof fileSchema>;

/** Refuses an activation function that this generation does not have, and heads that do not fit one another. */
function checkSizes(file: File, generation: Generation, unsupported: UnsupportedModel): void {
  const activation = file.hidden_activation ?? file.hidden_act ?? 'gelu_pytorch_tanh';
  if (!generation.activations.includes(activation)) unsupported('hidden_activation', activation);
  if (file.num_attention_heads % file.num_key_value_heads !== 0) {
    unsupported('num_key_value_heads', file.num_key_value_heads);
  }
  if (file.head_dim % 2 !== 0) unsupported('head_dim', file.head_dim);
}

function attentionOfLayers(file: File, generation: Generation, unsupported: UnsupportedModel): LayerAttention[] {
  const rope = parseRope(file, generation, unsupported);
  return layerTypes(file, generation, unsupported).map((type) => {
    if (type === 'full_attention') return { window: null, rope: rope[type] };
    return { window: file.sliding_window ?? unsupported('sliding_window', file.sliding_window), rope: rope[type] };
  });
}

/** Type of every layer: as listed, or by the pattern. */
function layerTypes(file: File, generation: Generation, unsupported: UnsupportedModel): LayerType[] {
  const { layer_types: listed, num_hidden_layers: layers } = file;
  const pattern = generation.pattern === null ? null : (file.sliding_window_pattern ?? generation.pattern);
  if (!listed) {
    const sliding = (layer: number) => pattern !== null && (layer + 1) % pattern !== 0;
    return Array.from({ length: layers }, (_, layer) => (sliding(layer) ? 'sliding_attention' : 'full_attention'));
  }
  if (listed.length !== layers) unsupported('layer_types', `${listed.length} layers`);
  return listed.map((type) => {
    const known = type === 'full_attention' || (type === 'sliding_attention' && pattern !== null);
    return known ? (type as LayerType) : unsupported('layer_types', type);
  });
}

/** The numbers of config.json, of which the rest of a model's description is made. */
type GemmaNumbers = Omit<GemmaConfig, 'family' | 'bos' | 'hooks' | 'costs' | 'shape' | 'names' | 'tensors' | 'write'>;

function modelOf(numbers: GemmaNumbers): GemmaConfig {
  const { layers, hidden, heads, kvHeads, headDim, mlp } = numbers;
  const block = hidden * (2 * (heads + kvHeads) * headDim + 3 * mlp);
  const config: GemmaConfig = {
    ...numbers,
    family: numbers.generation.name,
    bos: 'always',
    hooks: hooksOfBlocks(layers, () => ({
      hook_resid_pre: hidden,
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
      // The residual stream and its norm, next to attention (q, k, v, the scores) or the MLP (gate, up, their product).
      alive: (context) => 2 * hidden + Math.max((heads + 2 * kvHeads) * headDim + heads * context, 3 * mlp),
    },
    shape: shapeOf(numbers),
    names: NAMES,
    tensors: () => tensorsOf(numbers),
    write: (writer) => new GemmaGraph(writer, config),
  };
  return config;
}

/** What of config.json changes what the model computes, in one order. */
function shapeOf(c: GemmaNumbers): string {
  const sizes = [c.layers, c.hidden, c.heads, c.kvHeads, c.headDim, c.mlp, c.vocabulary];
  const constants = [c.rmsNormEps, c.attentionScale, c.attentionSoftcap, c.logitSoftcap, c.tiedHead, c.bosTokenId];
  const layers = c.attention.map(({ window, rope }) => [window, rope.theta, rope.factor]);
  return JSON.stringify([c.generation.name, sizes, constants, layers]);
}

const NAMES: TensorNames = {
  // Over the years: the causal models, the image-and-text models saved since transformers 4.52 and before, and bare
  // language models.
  prefixes: ['model.', 'model.language_model.', 'language_model.model.', 'language_model.', ''],
  anchor: 'embed_tokens.weight',
  elsewhere: { 'lm_head.weight': ['lm_head.weight', 'language_model.lm_head.weight', 'model.lm_head.weight'] },
  blocks: 'layers.',
  derived: /\.rotary_emb\.inv_freq$/,
  typical: 'layers.0.mlp.gate_proj.weight',
};

/** Matrices are [out, in]. */
function tensorsOf(c: GemmaNumbers): Map<string, readonly number[]> {
  const tensors = new Map<string, readonly number[]>([
    ['embed_tokens.weight', [c.vocabulary, c.hidden]],
    ['norm.weight', [c.hidden]],
  ]);
  if (!c.tiedHead) tensors.set('lm_head.weight', [c.vocabulary, c.hidden]);
  for (let layer = 0; layer < c.layers; layer++) {
    const set = (name: string, ...shape: number[]) => tensors.set(`layers.${layer}.${name}.weight`, shape);
    set('input_layernorm', c.hidden);
    set('self_attn.q_proj', c.heads * c.headDim, c.hidden);
    set('self_attn.k_proj', c.kvHeads * c.headDim, c.hidden);
    set('self_attn.v_proj', c.kvHeads * c.headDim, c.hidden);
    set('self_attn.o_proj', c.hidden, c.heads * c.headDim);
    if (c.generation.qkNorms) {
      set('self_attn.q_norm', c.headDim);
      set('self_attn.k_norm', c.headDim);
    }
    set('post_attention_layernorm', c.hidden);
    if (c.generation.postNorms) {
      set('pre_feedforward_layernorm', c.hidden);
      set('post_feedforward_layernorm', c.hidden);
    }
    set('mlp.gate_proj', c.mlp, c.hidden);
    set('mlp.up_proj', c.mlp, c.hidden);
    set('mlp.down_proj', c.hidden, c.mlp);
  }
  return tensors;
}

class GemmaGraph implements ModelGraph {
  private readonly form: AttentionForm;
  private readonly rotary: Rotary;

  constructor(
    private readonly writer: ModelWriter,
    private readonly config: GemmaConfig,
  ) {
    const { device, precision } = writer.placement;
    this.form = attentionForm(device, precision, config.headDim);
    this.rotary = new Rotary(writer, config.headDim);
  }

  residual(tokens: Value, hook: HookFunction): Value {
    let x = this.embed(tokens);
    for (let layer = 0; layer < this.config.layers; layer++) x = this.block(layer, x, hook);
    return x;
  }

  finalNorm(x: Value): Value {
    return this.norm(x, 'norm.weight');
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

  /** Logits before their cap. */
  private unembed(hidden: Value, body: GraphBuilder): Value {
    const { writer } = this;
    const matrix = this.config.tiedHead ? 'embed_tokens.weight' : 'lm_head.weight';
    const unembedding = writer.weight(matrix, writer.placement.precision);
    return writer.wide(body.matmul(writer.narrow(hidden, body), unembedding, { transB: true }), body);
  }

  /** Directions at a site of a block as they are added to the residual stream; null where no linear path leads there. */
  private addedToResidual(weights: string, site: Hook['site'], directions: Value): Value | null {
    const { writer } = this;
    const projected = (matrix: string, norm: string) => {
      const out = writer.wide(writer.linear(writer.narrow(directions), `${weights}.${matrix}.weight`));
      if (!this.config.generation.postNorms) return out;
      return writer.g.mul(out, normWeight(writer, `${weights}.${norm}.weight`, this.rms));
    };
    switch (site) {
      case 'hook_resid_pre':
      case 'hook_resid_mid':
      case 'hook_resid_post':
      case 'hook_attn_out':
      case 'hook_mlp_out':
        return directions;
      case 'attn.hook_z':
        return projected('self_attn.o_proj', 'post_attention_layernorm');
      case 'mlp.hook_post':
        return projected('mlp.down_proj', 'post_feedforward_layernorm');
      default:
        return null;
    }
  }

  /** Embeddings are scaled by √hidden; transformers rounds that factor to the precision of the model, so do we. */
  private embed(tokens: Value): Value {
    const { writer } = this;
    const { g } = writer;
    const rows = g.gather(writer.stored('embed_tokens.weight'), tokens);
    const scale = g.scalar(Math.sqrt(this.config.hidden));
    return g.mul(g.cast(rows, 'float32'), writer.wide(writer.narrow(scale)));
  }

  private block(layer: number, input: Value, onHook: HookFunction): Value {
    const { writer, config } = this;
    const { postNorms } = config.generation;
    const hook = hookOfBlock(layer, onHook);
    const weights = `layers.${layer}`;
    const norm = (x: Value, name: string) => this.norm(x, `${weights}.${name}.weight`);

    const residPre = writer.foldVariants(hook('hook_resid_pre', input), config.hidden);
    const attended = this.attention(layer, writer.narrow(norm(residPre, 'input_layernorm')));
    const z = writer.hookBetween(hook, 'attn.hook_z', attended);
    const headsOut = writer.wide(writer.linear(z, `${weights}.self_attn.o_proj.weight`));
    // What hook_attn_out shows is what is added to the residual stream: after the post norm where there is one.
    const attnOut = hook('hook_attn_out', postNorms ? norm(headsOut, 'post_attention_layernorm') : headsOut);
    const residMid = hook('hook_resid_mid', writer.g.add(residPre, attnOut));

    const mlpNorm = `${weights}.${postNorms ? 'pre_feedforward' : 'post_attention'}_layernorm.weight`;
    const normOf = { ...this.rms, width: config.hidden };
    const normalised = hookedRmsNorm(writer, residMid, mlpNorm, normOf, [hook, 'ln2.hook_normalized']);
    const mlpIn = hook('mlp.hook_in', normalised);
    const matrix = (name: string) => `${weights}.mlp.${name}_proj.weight`;
    const matrices = { gate: matrix('gate'), up: matrix('up'), down: matrix('down'), activation: 'geluTanh' } as const;
    const down = gatedMlp(writer, writer.narrow(mlpIn), matrices, hook);
    const mlpOut = hook('hook_mlp_out', postNorms ? norm(down, 'post_feedforward_layernorm') : down);
    return writer.foldVariants(hook('hook_resid_post', writer.g.add(residMid, mlpOut)), config.hidden);
  }

  /** Causal attention over heads [batch, context, hidden] → z [batch, context, heads × headDim]. */
  private attention(layer: number, x: Value): Value {
    const { writer, config } = this;
    const { heads, kvHeads, headDim, generation } = config;
    const { window, rope } = config.attention[layer]!;
    const weights = `layers.${layer}.self_attn`;
    const positions = writer.positions(x);
    const rotated = (name: string, count: number) => {
      let value = writer.wide(writer.linear(x, `${weights}.${name}_proj.weight`));
      if (generation.qkNorms) {
        value = headNorm(writer, value, `${weights}.${name}_norm.weight`, { ...this.rms, heads: count, headDim });
      }
      return writer.narrow(this.rotary.rotate(value, count, rope, positions));
    };
    const q = rotated('q', heads);
    const k = rotated('k', kvHeads);
    const v = writer.linear(x, `${weights}.v_proj.weight`);
    return attention(writer.g, this.form, config, { q, k, v, context: writer.context, window });
  }

  /** Gemma stores its norm weights as offsets from 1. */
  private get rms() {
    return { epsilon: this.config.rmsNormEps, offset: true };
  }

  private norm(x: Value, name: string): Value {
    return rmsNorm(this.writer, x, name, this.rms);
  }
}
