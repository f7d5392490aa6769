/** What attention of a layer sees: everything before it, or a window. Names of Hugging Face's `layer_types`. */
export type LayerType = 'full_attention' | 'sliding_attention';

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
