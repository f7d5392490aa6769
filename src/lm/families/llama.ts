import { z } from 'zod';
import { checkJson } from '../../disk/json.js';
import { type DecoderForm, type DecoderNumbers, decoderOf, type LayerAttention } from '../decoder.js';
import { type ConfigFile, type Family, type ModelConfig, type UnsupportedModel, unsupportedIn } from '../family.js';
import { parseRope } from '../rope.js';

// Llama (Touvron et al. 2023, arXiv 2302.13971; Llama 3, arXiv 2407.21783), Mistral (arXiv 2310.06825), Qwen 2 and 2.5
// (arXiv 2412.15115) and Qwen 3 (arXiv 2505.09388): settings of the shared decoder from config.json.

/** Differences between these families. */
interface Relative {
  readonly name: string;
  readonly qkNorms: boolean;
  /** Which projections have a bias; `true`: always, a key of config.json: if that is set. */
  readonly biases: {
    readonly qkv: boolean | 'attention_bias';
    readonly out: boolean | 'attention_bias';
    readonly mlp: boolean | 'mlp_bias';
  };
  /** Which layers may have an attention window: none, all, or some of them. */
  readonly windows: 'none' | 'all' | 'some';
  /** Defaults of keys missing in config.json, as in transformers. */
  readonly defaults: Readonly<Record<string, number>>;
  /** Keys that its reference does not read: a file that sets one means something else. */
  readonly foreign: readonly string[];
}

const LLAMA: Relative = {
  name: 'Llama',
  qkNorms: false,
  biases: { qkv: 'attention_bias', out: 'attention_bias', mlp: 'mlp_bias' },
  windows: 'none',
  defaults: { bos_token_id: 1, eos_token_id: 2, rms_norm_eps: 1e-6 },
  foreign: ['sliding_window', 'layer_types'],
};

const MISTRAL: Relative = {
  name: 'Mistral',
  qkNorms: false,
  biases: { qkv: false, out: false, mlp: false },
  windows: 'all',
  defaults: { bos_token_id: 1, eos_token_id: 2, rms_norm_eps: 1e-6, num_key_value_heads: 8, sliding_window: 4096 },
  foreign: ['attention_bias', 'mlp_bias', 'layer_types'],
};

const QWEN_2: Relative = {
  name: 'Qwen 2',
  qkNorms: false,
  biases: { qkv: true, out: false, mlp: false },
  windows: 'some',
  defaults: { rms_norm_eps: 1e-6, num_key_value_heads: 32, sliding_window: 4096, max_window_layers: 28 },
  foreign: ['mlp_bias'],
};

const QWEN_3: Relative = {
  name: 'Qwen 3',
  qkNorms: true,
  biases: { qkv: 'attention_bias', out: 'attention_bias', mlp: false },
  windows: 'some',
  defaults: { ...QWEN_2.defaults, head_dim: 128 },
  foreign: ['mlp_bias'],
};

export const llama: Family = { parse: (file) => parse(LLAMA, file) };
export const mistral: Family = { parse: (file) => parse(MISTRAL, file) };
export const qwen2: Family = { parse: (file) => parse(QWEN_2, file) };
export const qwen3: Family = { parse: (file) => parse(QWEN_3, file) };

const size = z.number().int().positive();
const token = z.number().int();

const fileSchema = z.object({
  hidden_size: size,
  // Bounded, since a list of this length is allocated before the weights can contradict it.
  num_hidden_layers: size.max(10_000),
  num_attention_heads: size,
  num_key_value_heads: size.nullish(),
  head_dim: size.nullish(),
  intermediate_size: size,
  vocab_size: size,
  max_position_embeddings: size,
  rms_norm_eps: z.number().positive(),
  bos_token_id: token.nullish(),
  eos_token_id: z.union([token, z.array(token)]).nullish(),
  pad_token_id: token.nullish(),
  tie_word_embeddings: z.boolean().nullish(),
  hidden_act: z.string().nullish(),
  attention_bias: z.boolean().nullish(),
  mlp_bias: z.boolean().nullish(),
  use_sliding_window: z.boolean().nullish(),
  sliding_window: size.nullish(),
  max_window_layers: z.number().int().nonnegative().nullish(),
  layer_types: z.array(z.string()).nullish(),
  rope_theta: z.number().positive().nullish(),
  rope_scaling: z.unknown().optional(),
  rope_parameters: z.unknown().optional(),
});
type File = z.infer<typeof fileSchema>;

/** Keys that change a model's output and are not supported by the graph. */
const NOWHERE = ['quantization_config', 'use_bidirectional_attention', 'num_experts', 'num_local_experts'] as const;

function parse(relative: Relative, { path, keys, outer }: ConfigFile): ModelConfig {
  const unsupported = unsupportedIn(path);
  for (const level of [outer, keys]) for (const key of NOWHERE) if (level[key]) unsupported(key, level[key]);
  for (const key of relative.foreign) if (keys[key] != null && keys[key] !== false) unsupported(key, keys[key]);
  const remedy = 'Use the config.json that came with the checkpoint.';
  const file = checkJson(fileSchema, { ...relative.defaults, ...keys }, path, remedy);
  const activation = file.hidden_act ?? 'silu';
  if (activation !== 'silu') unsupported('hidden_act', activation);
  const heads = file.num_attention_heads;
  const kvHeads = file.num_key_value_heads ?? heads;
  if (heads % kvHeads !== 0) unsupported('num_key_value_heads', kvHeads);
  if (file.head_dim == null && file.hidden_size % heads !== 0) unsupported('num_attention_heads', heads);
  const headDim = file.head_dim ?? file.hidden_size / heads;
  if (headDim % 2 !== 0) unsupported('head_dim', headDim);
  const has = (bias: boolean | 'attention_bias' | 'mlp_bias') =>
    typeof bias === 'string' ? file[bias] === true : bias;
  const { qkv, out, mlp } = relative.biases;
  const numbers: DecoderNumbers = {
    form: formOf(relative),
    layers: file.num_hidden_layers,
    hidden: file.hidden_size,
    ...{ heads, kvHeads, headDim },
    mlp: file.intermediate_size,
    vocabulary: file.vocab_size,
    maxContext: file.max_position_embeddings,
    rmsNormEps: file.rms_norm_eps,
    attentionScale: 1 / Math.sqrt(headDim),
    attentionSoftcap: null,
    logitSoftcap: null,
    attention: attentionOfLayers(file, relative, unsupported),
    tiedHead: (outer.tie_word_embeddings as boolean | null | undefined) ?? file.tie_word_embeddings ?? false,
    biases: { qkv: has(qkv), out: has(out), mlp: has(mlp) },
    bosTokenId: file.bos_token_id ?? -1,
    special: new Map(
      // Negative means none.
      (['eos_token_id', 'pad_token_id'] as const).map((key) => [key, [file[key] ?? []].flat().filter((id) => id >= 0)]),
    ),
  };
  return decoderOf(numbers, 'tokenizer');
}

function formOf({ name, qkNorms }: Relative): DecoderForm {
  const parts = { mlpNorm: 'post_attention_layernorm', postNorms: false, normOffset: false } as const;
  return { name, qkNorms, ...parts, activation: 'silu', scaledEmbedding: false };
}

function attentionOfLayers(file: File, relative: Relative, unsupported: UnsupportedModel): LayerAttention[] {
  const family = {
    ropeTheta: { full_attention: 10_000, sliding_attention: 10_000 },
    ropeByType: false,
    ropeKinds: ['linear', 'llama3'],
  };
  const { full_attention: rope } = parseRope(file, family, unsupported);
  const layers = Array.from({ length: file.num_hidden_layers }, (_, layer) => layer);
  if (relative.windows === 'none') return layers.map(() => ({ window: null, rope }));
  const window = file.sliding_window ?? null;
  if (relative.windows === 'all') return layers.map(() => ({ window, rope }));
  const used = file.use_sliding_window === true ? window : null;
  const { layer_types: listed } = file;
  if (listed && listed.length !== layers.length) unsupported('layer_types', `${listed.length} layers`);
  return layers.map((layer) => {
    const type = listed?.[layer];
    if (type !== undefined && type !== 'full_attention' && type !== 'sliding_attention')
      unsupported('layer_types', type);
    // As listed, or by the number of full-attention layers.
    const slides = listed ? type === 'sliding_attention' : used !== null && layer >= (file.max_window_layers ?? 0);
    if (slides && used === null) unsupported('layer_types', 'sliding_attention without use_sliding_window');
    return { window: slides ? used : null, rope };
  });
}
