import { z } from 'zod';
import { checkJson } from '../../disk/json.js';
import {
  type DecoderConfig,
  type DecoderForm,
  type DecoderNumbers,
  decoderOf,
  type LayerAttention,
} from '../decoder.js';
import { type ConfigFile, type Family, type UnsupportedModel, unsupportedIn } from '../family.js';
import { type LayerType, parseRope } from '../rope.js';

// Gemma 1 (Gemma Team 2024, arXiv 2403.08295), Gemma 2 (arXiv 2408.00118), the language model of Gemma 3 (arXiv
// 2503.19786), and VaultGemma (arXiv 2510.15001): settings of the shared decoder from config.json.

/** Differences between Gemma generations. */
interface Generation {
  /** Named as in its papers. */
  readonly name: string;
  /** Attention's and the MLP's outputs are also normalised before they are added to the residual stream. */
  readonly postNorms: boolean;
  /** Name of the norm before the MLP. */
  readonly mlpNorm: DecoderForm['mlpNorm'];
  /** Queries and keys are normalised per head before rotation. */
  readonly qkNorms: boolean;
  /** Keys of config.json for the divisor of the scores (squared) and the logit soft-cap. */
  readonly scaledBy: 'head_dim' | 'query_pre_attn_scalar';
  readonly softcaps: boolean;
  /** Every n-th layer has full attention, the others a window; null: full attention everywhere. */
  readonly pattern: number | null;
  /** Base of the rotary frequencies if config.json gives none. */
  readonly ropeTheta: Readonly<Record<LayerType, number>>;
  /** Whether each of the two types of layers has its own rotary parameters. */
  readonly ropeByType: boolean;
  /** Defaults of keys missing in config.json, as in transformers. */
  readonly defaults: Readonly<Record<string, number>>;
  /** Names of the MLP's activation function that mean GELU with the tanh approximation here. */
  readonly activations: readonly string[];
  /** Keys of other families that this one's reference ignores: a file that sets one means something else. */
  readonly foreign: readonly string[];
}

const GEMMA_1: Generation = {
  name: 'Gemma 1',
  postNorms: false,
  mlpNorm: 'post_attention_layernorm',
  qkNorms: false,
  scaledBy: 'head_dim',
  softcaps: false,
  pattern: null,
  ropeTheta: { full_attention: 10_000, sliding_attention: 10_000 },
  ropeByType: false,
  defaults: {},
  // Early files say "gelu" but mean the approximation; transformers reads them the same way.
  activations: ['gelu_pytorch_tanh', 'gelu'],
  foreign: ['query_pre_attn_scalar', 'attn_logit_softcapping', 'final_logit_softcapping', 'sliding_window'],
};

const GEMMA_2: Generation = {
  name: 'Gemma 2',
  postNorms: true,
  mlpNorm: 'pre_feedforward_layernorm',
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
  mlpNorm: 'pre_feedforward_layernorm',
  qkNorms: true,
  scaledBy: 'query_pre_attn_scalar',
  softcaps: false,
  pattern: 6,
  ropeTheta: { full_attention: 1_000_000, sliding_attention: 10_000 },
  ropeByType: true,
  // The text_config of the larger models contains only differences from these.
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

/** Gemma 2 without the norms after attention and MLP. */
const VAULT_GEMMA: Generation = { ...GEMMA_2, name: 'VaultGemma', postNorms: false };

export const vaultGemma: Family = { parse: (file) => parseGemma(VAULT_GEMMA, file) };
export const gemma1: Family = { parse: (file) => parseGemma(GEMMA_1, file) };
export const gemma2: Family = { parse: (file) => parseGemma(GEMMA_2, file) };
export const gemma3: Family = { parse: (file) => parseGemma(GEMMA_3, file) };

/** Settings of config.json that determine the graph, with the generation they were read for. */
export type GemmaConfig = DecoderConfig & { readonly generation: Generation };

const size = z.number().int().positive();
const cap = z.number().positive().nullish();

const fileSchema = z.object({
  hidden_size: size,
  // Bounded, since a list of this length is allocated before the weights can contradict it.
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

/** Keys that change a model's output and are not supported by the graph. */
const NOWHERE = ['attention_bias', 'mlp_bias', 'quantization_config', 'use_bidirectional_attention'] as const;

function parseGemma(generation: Generation, { path, keys, outer }: ConfigFile): GemmaConfig {
  const unsupported = unsupportedIn(path);
  for (const level of [outer, keys]) for (const key of NOWHERE) if (level[key]) unsupported(key, level[key]);
  for (const key of generation.foreign) if (keys[key] != null) unsupported(key, keys[key]);
  const remedy = 'Use the config.json that came with the checkpoint.';
  const file = checkJson(fileSchema, { ...generation.defaults, ...keys }, path, remedy);
  checkSizes(file, generation, unsupported);
  const tiedHead = (outer.tie_word_embeddings as boolean | null | undefined) ?? file.tie_word_embeddings ?? true;
  const numbers: DecoderNumbers & { generation: Generation } = {
    generation,
    form: formOf(generation),
    biases: { qkv: false, out: false, mlp: false },
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
      // Negative means none.
      (['eos_token_id', 'pad_token_id'] as const).map((key) => [key, [file[key] ?? []].flat().filter((id) => id >= 0)]),
    ),
  };
  return decoderOf(numbers, 'always');
}

type File = z.infer<typeof fileSchema>;

/** Refuses an activation function that this generation does not have, and incompatible numbers of heads. */
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

function formOf({ name, postNorms, mlpNorm, qkNorms }: Generation): DecoderForm {
  return { name, postNorms, qkNorms, mlpNorm, normOffset: true, activation: 'geluTanh', scaledEmbedding: true };
}
