import { z } from 'zod';
import { checkJson } from '../../disk/json.js';
import { type ConfigFile, type Family, type ModelConfig, type UnsupportedModel, unsupportedIn } from '../family.js';
import { gemma4Of } from '../gemma4-graph.js';
import type { Gemma4Layer, Gemma4Numbers } from '../gemma4-layout.js';
import { type LayerType, parseRope } from '../rope.js';

// The language model of Gemma 4, from config.json: the dense sizes, and those with per-layer embeddings (E2B, E4B).

export const gemma4: Family = { parse };

const size = z.number().int().positive();
const token = z.number().int().nonnegative();

const fileSchema = z.object({
  vocab_size: size,
  hidden_size: size,
  intermediate_size: size,
  num_hidden_layers: size.max(10_000),
  num_attention_heads: size,
  num_key_value_heads: size,
  head_dim: size,
  hidden_activation: z.string(),
  max_position_embeddings: size,
  rms_norm_eps: z.number().positive(),
  pad_token_id: token.nullish(),
  eos_token_id: z.union([token, z.array(token)]).nullish(),
  bos_token_id: token,
  tie_word_embeddings: z.boolean(),
  rope_parameters: z.unknown(),
  sliding_window: size,
  layer_types: z.array(z.string()).nullish(),
  final_logit_softcapping: z.number().positive().nullish(),
  use_bidirectional_attention: z.string().nullish(),
  vocab_size_per_layer_input: size.nullish(),
  hidden_size_per_layer_input: z.number().int().nonnegative().nullish(),
  attention_k_eq_v: z.boolean().nullish(),
  num_kv_shared_layers: z.number().int().nonnegative().nullish(),
  use_double_wide_mlp: z.boolean().nullish(),
  global_head_dim: size,
  num_global_key_value_heads: size.nullish(),
  per_layer_config: z
    .record(z.string(), z.strictObject({ head_dim: size.optional(), num_key_value_heads: size.optional() }))
    .nullish(),
});
type File = z.infer<typeof fileSchema>;

/** Defaults of keys missing in config.json, as in transformers. */
const DEFAULTS = {
  ...{ vocab_size: 262_144, hidden_size: 2304, intermediate_size: 9216, num_hidden_layers: 30 },
  ...{ num_attention_heads: 8, num_key_value_heads: 4, head_dim: 256, hidden_activation: 'gelu_pytorch_tanh' },
  ...{ max_position_embeddings: 131_072, rms_norm_eps: 1e-6, pad_token_id: 0, eos_token_id: 1, bos_token_id: 2 },
  ...{ tie_word_embeddings: true, sliding_window: 512, vocab_size_per_layer_input: 262_144 },
  ...{ hidden_size_per_layer_input: 256, global_head_dim: 512 },
};
const ROPE = {
  sliding_attention: { rope_type: 'default', rope_theta: 10_000 },
  full_attention: { rope_type: 'proportional', partial_rotary_factor: 0.25, rope_theta: 1_000_000 },
};

/** Keys that change a model's output and are not supported by the graph; mixture of experts is one. */
const NOWHERE = ['attention_bias', 'mlp_bias', 'quantization_config', 'enable_moe_block'] as const;

function parse({ path, keys, outer }: ConfigFile): ModelConfig {
  const unsupported = unsupportedIn(path);
  for (const level of [outer, keys]) for (const key of NOWHERE) if (level[key]) unsupported(key, level[key]);
  const remedy = 'Use the config.json that came with the checkpoint.';
  const file = checkJson(
    fileSchema,
    { ...DEFAULTS, ...keys, rope_parameters: keys.rope_parameters ?? ROPE },
    path,
    remedy,
  );
  if (file.hidden_activation !== 'gelu_pytorch_tanh') unsupported('hidden_activation', file.hidden_activation);
  // "vision" affects images only.
  const both = file.use_bidirectional_attention ?? 'vision';
  if (both !== 'vision') unsupported('use_bidirectional_attention', both);
  const perLayer = file.hidden_size_per_layer_input ?? 0;
  if (perLayer > 0 && file.vocab_size_per_layer_input !== file.vocab_size) {
    unsupported('vocab_size_per_layer_input', file.vocab_size_per_layer_input);
  }
  const numbers: Gemma4Numbers = {
    layers: layersOf(file, unsupported),
    hidden: file.hidden_size,
    heads: file.num_attention_heads,
    vocabulary: file.vocab_size,
    maxContext: file.max_position_embeddings,
    rmsNormEps: file.rms_norm_eps,
    logitSoftcap: file.final_logit_softcapping ?? null,
    perLayer,
    tiedHead: (outer.tie_word_embeddings as boolean | null | undefined) ?? file.tie_word_embeddings,
    bosTokenId: file.bos_token_id,
    special: new Map((['eos_token_id', 'pad_token_id'] as const).map((key) => [key, [file[key] ?? []].flat()])),
  };
  return gemma4Of(numbers);
}

function layersOf(file: File, unsupported: UnsupportedModel): Gemma4Layer[] {
  const types = layerTypes(file, unsupported);
  const kEqV = file.attention_k_eq_v ?? false;
  const full = fullAttention(file, types, kEqV, unsupported);
  const sliding = { headDim: file.head_dim, kvHeads: file.num_key_value_heads };
  const shapes = { full_attention: full, sliding_attention: sliding };
  for (const { headDim, kvHeads } of [full, sliding]) {
    if (file.num_attention_heads % kvHeads !== 0) unsupported('num_key_value_heads', kvHeads);
    if (headDim % 2 !== 0) unsupported('head_dim', headDim);
  }
  const widths = { full_attention: full.headDim, sliding_attention: sliding.headDim };
  const family = {
    ...{ ropeTheta: { full_attention: 1_000_000, sliding_attention: 10_000 }, ropeByType: true },
    ...{ ropeKinds: ['linear', 'proportional'], widths },
  };
  const rope = parseRope({ rope_parameters: file.rope_parameters }, family, unsupported);
  const shared = file.num_kv_shared_layers ?? 0;
  const firstShared = types.length - shared;
  if (firstShared < 0) unsupported('num_kv_shared_layers', shared);
  return types.map((type, layer) => {
    const isShared = layer >= firstShared;
    const from = isShared ? types.slice(0, firstShared).lastIndexOf(type) : null;
    if (from !== null && from < 0) unsupported('num_kv_shared_layers', shared);
    const wide = file.use_double_wide_mlp === true && isShared && firstShared > 0;
    // The width in the name distinguishes the tables of the two types.
    const own = { ...rope[type], rotated: rope[type].rotated ?? widths[type], proportional: true };
    return {
      ...shapes[type],
      window: type === 'full_attention' ? null : file.sliding_window,
      rope: type === 'full_attention' ? own : rope[type],
      keysOf: from,
      valuesAreKeys: kEqV && type === 'full_attention',
      mlp: file.intermediate_size * (wide ? 2 : 1),
    };
  });
}

/**
 * Type of every layer: as listed, otherwise five with a window before each one with full attention; the last has full
 * attention.
 */
function layerTypes(file: File, unsupported: UnsupportedModel): LayerType[] {
  const { layer_types: listed, num_hidden_layers: layers } = file;
  if (listed && listed.length !== layers) unsupported('layer_types', `${listed.length} layers`);
  return Array.from({ length: layers }, (_, layer) => {
    const type = listed?.[layer] ?? ((layer + 1) % 6 === 0 ? 'full_attention' : 'sliding_attention');
    if (type !== 'full_attention' && type !== 'sliding_attention') return unsupported('layer_types', type);
    return layer === layers - 1 ? 'full_attention' : type;
  });
}

/** Sizes of the full-attention layers, in either spelling. */
function fullAttention(file: File, types: readonly LayerType[], kEqV: boolean, unsupported: UnsupportedModel) {
  const { per_layer_config: given } = file;
  if (!given) {
    const kvHeads = (kEqV ? file.num_global_key_value_heads : null) ?? file.num_key_value_heads;
    return { headDim: file.global_head_dim, kvHeads };
  }
  const of = types.flatMap((type, layer) => {
    if (type === 'full_attention') return [given[layer] ?? {}];
    return given[layer] && Object.keys(given[layer]).length > 0 ? unsupported('per_layer_config', given) : [];
  });
  const { head_dim: headDim = file.head_dim, num_key_value_heads: kvHeads = file.num_key_value_heads } = of[0]!;
  const same = of.every(
    ({ head_dim = file.head_dim, num_key_value_heads = file.num_key_value_heads }) =>
      head_dim === headDim && num_key_value_heads === kvHeads,
  );
  return same ? { headDim, kvHeads } : unsupported('per_layer_config', given);
}
