import { z } from 'zod';
import { Refusal } from '../config/refusal.js';
import { checkJson } from '../disk/json-file.js';

/** What of config.json shapes the graph, in one spelling. */
export interface GemmaConfig {
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
  readonly ropeTheta: number;
  readonly tiedHead: boolean;
  readonly bosTokenId: number;
}

const size = z.number().int().positive();

const fileSchema = z.object({
  hidden_size: size,
  num_hidden_layers: size,
  num_attention_heads: size,
  num_key_value_heads: size,
  head_dim: size,
  intermediate_size: size,
  vocab_size: size,
  max_position_embeddings: size,
  rms_norm_eps: z.number().positive(),
  bos_token_id: z.number().int().nonnegative(),
  tie_word_embeddings: z.boolean().default(true),
  attention_bias: z.boolean().default(false),
  hidden_act: z.string().nullish(),
  hidden_activation: z.string().nullish(),
  rope_theta: z.number().positive().optional(),
  rope_scaling: z.unknown().optional(),
  rope_parameters: z.object({ rope_type: z.string().default('default'), rope_theta: z.number().positive() }).optional(),
  quantization_config: z.unknown().optional(),
  use_bidirectional_attention: z.boolean().nullish(),
});

/**
 * Reads a Gemma 1 config.json. Keys that would change the result and are not supported are refused by name.
 *
 * @param json parsed config.json
 * @param path its path, for messages
 * @throws Refusal for another architecture, a missing key, or an unsupported setting
 */
export function parseGemmaConfig(json: unknown, path: string): GemmaConfig {
  const type = (json as { model_type?: unknown } | null)?.model_type;
  if (type !== 'gemma') {
    throw new Refusal(`${path} describes a model of type ${JSON.stringify(type)}; supported is "gemma" (Gemma 1).`);
  }
  const file = checkJson(fileSchema, json, path, 'Use the config.json that came with the checkpoint.');
  const unsupported = (key: string, value: unknown): never => {
    throw new Refusal(`${path} sets ${key} to ${JSON.stringify(value)}, which is not supported.`);
  };
  if (file.attention_bias) unsupported('attention_bias', true);
  if (file.quantization_config) unsupported('quantization_config', file.quantization_config);
  if (file.rope_scaling) unsupported('rope_scaling', file.rope_scaling);
  if (file.use_bidirectional_attention) unsupported('use_bidirectional_attention', true);
  const rope = file.rope_parameters;
  if (rope && rope.rope_type !== 'default') unsupported('rope_parameters.rope_type', rope.rope_type);
  // Early Gemma files say hidden_act "gelu" and mean the tanh approximation; transformers reads them so, too.
  const activation = file.hidden_activation ?? file.hidden_act ?? 'gelu_pytorch_tanh';
  if (!['gelu', 'gelu_pytorch_tanh'].includes(activation)) unsupported('hidden_activation', activation);
  if (file.num_attention_heads % file.num_key_value_heads !== 0) {
    unsupported('num_key_value_heads', file.num_key_value_heads);
  }
  return {
    layers: file.num_hidden_layers,
    hidden: file.hidden_size,
    heads: file.num_attention_heads,
    kvHeads: file.num_key_value_heads,
    headDim: file.head_dim,
    mlp: file.intermediate_size,
    vocabulary: file.vocab_size,
    maxContext: file.max_position_embeddings,
    rmsNormEps: file.rms_norm_eps,
    ropeTheta: rope?.rope_theta ?? file.rope_theta ?? 10_000,
    tiedHead: file.tie_word_embeddings,
    bosTokenId: file.bos_token_id,
  };
}
