import { z } from 'zod';
import { checkJson } from '../disk/json.js';
import { Refusal } from '../errors/refusal.js';
import { type LayerType, parseRope, type Rope } from './rope.js';

/** What one generation of Gemma does otherwise than another; everything else about them is the same. */
export interface Family {
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

/**
 * Gemma 1 (Gemma Team 2024, arXiv 2403.08295), Gemma 2 (arXiv 2408.00118) and the language model of Gemma 3
 * (arXiv 2503.19786), by the `model_type` of config.json.
 */
export const FAMILIES = {
  gemma: {
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
  },
  gemma2: {
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
  },
  gemma3_text: {
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
  },
} as const satisfies Record<string, Family>;

/** Types of model that wrap a language model's configuration in `text_config`, with the type expected there. */
export const WRAPPERS: Readonly<Record<string, keyof typeof FAMILIES>> = { gemma3: 'gemma3_text' };

/** What attention does in one layer. */
export interface LayerAttention {
  /** Tokens it sees, its own included; null: all before it. */
  readonly window: number | null;
  readonly rope: Rope;
}

/** What of config.json shapes the graph, in one spelling. */
export interface GemmaConfig {
  readonly family: Family;
  readonly layers: number;
  /** d_model. */
  readonly hidden: number;
  readonly heads: number;
  readonly kvHeads: number;
  readonly headDim: number;
  /** d_ff, the width of the gated MLP. */
  readonly mlp: number;
  readonly vocabulary: number;
  readonly maxContext: number;
  readonly rmsNormEps: number;
  /** Factor of the attention scores. */
  readonly attentionScale: number;
  /** Scores and logits become cap · tanh(x / cap); null: they stay as they are. */
  readonly attentionSoftcap: number | null;
  readonly logitSoftcap: number | null;
  /** One entry a layer. */
  readonly attention: readonly LayerAttention[];
  readonly tiedHead: boolean;
  readonly bosTokenId: number;
  /** Other tokens that config.json gives a meaning to, by its key: eos_token_id, pad_token_id. */
  readonly special: ReadonlyMap<string, readonly number[]>;
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

/** Keys that change what a model computes, and that none of our graphs has. */
const NOWHERE = ['attention_bias', 'mlp_bias', 'quantization_config', 'use_bidirectional_attention'] as const;

/**
 * Reads the config.json of a Gemma. Keys that would change the result and are not supported are refused by name.
 *
 * @param json parsed config.json
 * @param path its path, for messages
 * @throws Refusal for another architecture, a missing key, or an unsupported setting
 */
export function parseGemmaConfig(json: unknown, path: string): GemmaConfig {
  const { family, keys, outer } = languageModel(json, path);
  const unsupported = (key: string, value: unknown): never => {
    throw new Refusal(
      `${path} sets ${key} to ${JSON.stringify(value)}, which is not supported.`,
      'It would change what the model computes; use a checkpoint without it.',
      'lm/unsupported-setting',
    );
  };
  for (const level of [outer, keys]) for (const key of NOWHERE) if (level[key]) unsupported(key, level[key]);
  for (const key of family.foreign) if (keys[key] != null) unsupported(key, keys[key]);
  const remedy = 'Use the config.json that came with the checkpoint.';
  const file = checkJson(fileSchema, { ...family.defaults, ...keys }, path, remedy);
  const activation = file.hidden_activation ?? file.hidden_act ?? 'gelu_pytorch_tanh';
  if (!family.activations.includes(activation)) unsupported('hidden_activation', activation);
  if (file.num_attention_heads % file.num_key_value_heads !== 0) {
    unsupported('num_key_value_heads', file.num_key_value_heads);
  }
  if (file.head_dim % 2 !== 0) unsupported('head_dim', file.head_dim);
  const rope = parseRope(file, family, unsupported);
  const attention = layerTypes(file, family, unsupported).map((type): LayerAttention => {
    if (type === 'full_attention') return { window: null, rope: rope[type] };
    return { window: file.sliding_window ?? unsupported('sliding_window', file.sliding_window), rope: rope[type] };
  });
  return {
    family,
    layers: file.num_hidden_layers,
    hidden: file.hidden_size,
    heads: file.num_attention_heads,
    kvHeads: file.num_key_value_heads,
    headDim: file.head_dim,
    mlp: file.intermediate_size,
    vocabulary: file.vocab_size,
    maxContext: file.max_position_embeddings,
    rmsNormEps: file.rms_norm_eps,
    attentionScale: 1 / Math.sqrt(file[family.scaledBy] ?? unsupported(family.scaledBy, null)),
    attentionSoftcap: family.softcaps ? (file.attn_logit_softcapping ?? null) : null,
    logitSoftcap: family.softcaps ? (file.final_logit_softcapping ?? null) : null,
    attention,
    tiedHead: (outer.tie_word_embeddings as boolean | null | undefined) ?? file.tie_word_embeddings ?? true,
    bosTokenId: file.bos_token_id,
    special: new Map(
      // Below 0 stands for none.
      (['eos_token_id', 'pad_token_id'] as const).map((key) => [key, [file[key] ?? []].flat().filter((id) => id >= 0)]),
    ),
  };
}

type Keys = Readonly<Record<string, unknown>>;

/** The family, the keys of the language model, and those of the file around them (the same where nothing is nested). */
function languageModel(json: unknown, path: string): { family: Family; keys: Keys; outer: Keys } {
  const outer = (json !== null && typeof json === 'object' ? json : {}) as Keys;
  const type = typeof outer.model_type === 'string' ? outer.model_type : '';
  if (Object.hasOwn(FAMILIES, type)) {
    return { family: FAMILIES[type as keyof typeof FAMILIES], keys: outer, outer };
  }
  const inner = Object.hasOwn(WRAPPERS, type) ? WRAPPERS[type] : undefined;
  if (inner) {
    const keys = outer.text_config as Keys | null | undefined;
    if (!keys || typeof keys !== 'object') {
      throw new Refusal(
        `${path} has no text_config.`,
        'Use the config.json that came with the checkpoint.',
        'lm/no-text-config',
      );
    }
    if ((keys.model_type ?? inner) === inner) {
      return { family: FAMILIES[inner], keys: { bos_token_id: outer.bos_token_id ?? 2, ...keys }, outer };
    }
  }
  const nested = (outer.text_config as Keys | undefined)?.model_type;
  const named = Array.isArray(outer.architectures) ? ` (${outer.architectures.slice(0, 3).join(', ')})` : '';
  const found =
    JSON.stringify(outer.model_type) + named + (nested === undefined ? '' : ` around ${JSON.stringify(nested)}`);
  throw new Refusal(
    `${path} describes a model of type ${found}, which is not supported.`,
    `Use a model of type ${[...Object.keys(FAMILIES), ...Object.keys(WRAPPERS)].join(', ')}.`,
    'lm/unsupported-model',
  );
}

/** Type of every layer: as listed, or by the pattern. */
function layerTypes(
  file: z.infer<typeof fileSchema>,
  family: Family,
  unsupported: (key: string, value: unknown) => never,
): LayerType[] {
  const { layer_types: listed, num_hidden_layers: layers } = file;
  const pattern = family.pattern === null ? null : (file.sliding_window_pattern ?? family.pattern);
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

/** What of config.json changes what the model computes, in one order. */
export function shapeOf(c: GemmaConfig): string {
  const sizes = [c.layers, c.hidden, c.heads, c.kvHeads, c.headDim, c.mlp, c.vocabulary];
  const constants = [c.rmsNormEps, c.attentionScale, c.attentionSoftcap, c.logitSoftcap, c.tiedHead, c.bosTokenId];
  const layers = c.attention.map(({ window, rope }) => [window, rope.theta, rope.factor]);
  return JSON.stringify([c.family.name, sizes, constants, layers]);
}
