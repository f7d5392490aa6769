import type { GemmaConfig } from '../../src/lm/families/gemma.js';
import { parseModelConfig } from '../../src/lm/families/registry.js';

/** A Gemma's config.json, with what only its family knows of it. */
export function parseGemmaConfig(json: unknown, path = 'config.json'): GemmaConfig {
  return parseModelConfig(json, path) as GemmaConfig;
}

/** A Gemma 1 of these sizes, as its config.json would describe it. */
export function gemmaOfSizes(
  sizes: Pick<GemmaConfig, 'layers' | 'hidden' | 'heads' | 'kvHeads' | 'headDim' | 'mlp'> & { vocabulary?: number },
): GemmaConfig {
  const config = {
    model_type: 'gemma',
    num_hidden_layers: sizes.layers,
    hidden_size: sizes.hidden,
    num_attention_heads: sizes.heads,
    num_key_value_heads: sizes.kvHeads,
    head_dim: sizes.headDim,
    intermediate_size: sizes.mlp,
    vocab_size: sizes.vocabulary ?? 256_000,
    ...{ max_position_embeddings: 8192, rms_norm_eps: 1e-6, bos_token_id: 2 },
  };
  return parseGemmaConfig(config);
}
