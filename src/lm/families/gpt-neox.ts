import { z } from 'zod';
import { checkJson } from '../../disk/json.js';
import { type ConfigFile, type Family, type ModelConfig, type TensorNames, unsupportedIn } from '../family.js';
import { GELUS, type PlainNumbers, type PlainWeights, plainDecoderOf, refuseKeys } from '../plain-decoder.js';
import { parseRope } from '../rope.js';

// GPT-NeoX (Black et al. 2022, arXiv 2204.06745), the architecture of all Pythia models (Biderman et al. 2023, arXiv
// 2304.01373).

export const gptNeox: Family = { parse };

const size = z.number().int().positive();
const token = z.number().int();

const fileSchema = z.object({
  hidden_size: size,
  num_hidden_layers: size.max(10_000),
  num_attention_heads: size,
  intermediate_size: size,
  vocab_size: size,
  max_position_embeddings: size,
  layer_norm_eps: z.number().positive(),
  bos_token_id: token.nullish(),
  eos_token_id: z.union([token, z.array(token)]).nullish(),
  pad_token_id: token.nullish(),
  tie_word_embeddings: z.boolean().nullish(),
  hidden_act: z.string().nullish(),
  use_parallel_residual: z.boolean().nullish(),
  attention_bias: z.boolean().nullish(),
  rotary_pct: z.number().positive().max(1).nullish(),
  rotary_emb_base: z.number().positive().nullish(),
  rope_theta: z.number().positive().nullish(),
  rope_scaling: z.unknown().optional(),
  rope_parameters: z.unknown().optional(),
});

function parse({ path, keys, outer }: ConfigFile): ModelConfig {
  const unsupported = unsupportedIn(path);
  refuseKeys(['quantization_config', 'sliding_window'], [outer, keys], unsupported);
  const remedy = 'Use the config.json that came with the checkpoint.';
  // Defaults of keys missing in config.json, as in transformers.
  const file = checkJson(fileSchema, { layer_norm_eps: 1e-5, bos_token_id: 0, eos_token_id: 2, ...keys }, path, remedy);
  const activation = GELUS[file.hidden_act ?? 'gelu'] ?? unsupported('hidden_act', file.hidden_act);
  const { hidden_size: hidden, num_attention_heads: heads, num_hidden_layers: layers } = file;
  if (hidden % heads !== 0) unsupported('num_attention_heads', heads);
  const headDim = hidden / heads;
  const family = {
    ...{ ropeTheta: { full_attention: 10_000, sliding_attention: 10_000 }, ropeByType: false },
    ...{ ropeKinds: ['linear'], rotated: { width: headDim, share: file.rotary_pct ?? 0.25 } },
  };
  const old = { ...file, rope_theta: file.rotary_emb_base ?? file.rope_theta };
  const numbers: PlainNumbers = {
    name: 'GPT-NeoX',
    ...{ layers, hidden, heads, headDim, activation },
    mlp: file.intermediate_size,
    vocabulary: file.vocab_size,
    maxContext: file.max_position_embeddings,
    epsilon: file.layer_norm_eps,
    parallel: file.use_parallel_residual ?? true,
    rope: parseRope(old, family, unsupported).full_attention,
    attentionScales: Array.from({ length: layers }, () => 1 / Math.sqrt(headDim)),
    tiedHead: file.tie_word_embeddings ?? false,
    bosTokenId: file.bos_token_id ?? -1,
    special: new Map(
      (['eos_token_id', 'pad_token_id'] as const).map((key) => [key, [file[key] ?? []].flat().filter((id) => id >= 0)]),
    ),
  };
  return plainDecoderOf(numbers, weightsOf(numbers, file.attention_bias ?? true), 'tokenizer');
}

const NAMES: TensorNames = {
  prefixes: ['gpt_neox.', ''],
  anchor: 'embed_in.weight',
  elsewhere: { 'embed_out.weight': ['embed_out.weight', 'lm_head.weight'] },
  blocks: 'layers.',
  derived: /\.attention\.(bias|masked_bias|rotary_emb\.inv_freq)$/,
  typical: 'layers.0.mlp.dense_h_to_4h.weight',
};

const MATRICES = { attentionOut: 'attention.dense', mlpIn: 'mlp.dense_h_to_4h', mlpOut: 'mlp.dense_4h_to_h' } as const;

/** @param attentionBias whether attention's matrices have biases */
function weightsOf(c: PlainNumbers, attentionBias: boolean): PlainWeights {
  const { heads, headDim, hidden, mlp, vocabulary } = c;
  const named = (norm: string) => [`${norm}.weight`, `${norm}.bias`] as const;
  return {
    names: NAMES,
    tensors: () => {
      const tensors = new Map<string, readonly number[]>([['embed_in.weight', [vocabulary, hidden]]]);
      const add = (name: string, weight: number[], bias = true) => {
        tensors.set(`${name}.weight`, weight);
        if (bias) tensors.set(`${name}.bias`, weight.slice(0, 1));
      };
      for (let layer = 0; layer < c.layers; layer++) {
        const block = `layers.${layer}`;
        add(`${block}.input_layernorm`, [hidden]);
        add(`${block}.post_attention_layernorm`, [hidden]);
        add(`${block}.attention.query_key_value`, [3 * hidden, hidden], attentionBias);
        add(`${block}.${MATRICES.attentionOut}`, [hidden, hidden], attentionBias);
        add(`${block}.${MATRICES.mlpIn}`, [mlp, hidden]);
        add(`${block}.${MATRICES.mlpOut}`, [hidden, mlp]);
      }
      add('final_layer_norm', [hidden]);
      if (!c.tiedHead) tensors.set('embed_out.weight', [vocabulary, hidden]);
      return tensors;
    },
    embedding: 'embed_in.weight',
    positions: null,
    norm: (which, layer) =>
      named(`layers.${layer}.${which === 'attention' ? 'input_layernorm' : 'post_attention_layernorm'}`),
    finalNorm: named('final_layer_norm'),
    qkv: (writer, layer, x) => {
      const { g, context } = writer;
      const matrix = `layers.${layer}.attention.query_key_value`;
      const fused = writer.linear(x, `${matrix}.weight`, attentionBias ? `${matrix}.bias` : undefined);
      // Rows are grouped by head; within each head, queries come before keys, and those before values.
      const byHead = g.reshape(fused, -1, context, heads, 3, headDim);
      const part = (i: number) => g.reshape(g.gather(byHead, g.int(i), 3), -1, context, heads * headDim);
      return [part(0), part(1), part(2)];
    },
    linear: (writer, which, layer, x, biased) => {
      const matrix = `layers.${layer}.${MATRICES[which]}`;
      const bias = biased && (attentionBias || which !== 'attentionOut');
      return writer.linear(x, `${matrix}.weight`, bias ? `${matrix}.bias` : undefined);
    },
    unembed: (writer, x, body) => {
      const matrix = c.tiedHead ? 'embed_in.weight' : 'embed_out.weight';
      return body.matmul(x, writer.weight(matrix, writer.placement.precision), { transB: true });
    },
    unembedBias: null,
  };
}
