import { z } from 'zod';
import { checkJson } from '../../disk/json.js';
import { type ConfigFile, type Family, type ModelConfig, type TensorNames, unsupportedIn } from '../family.js';
import { GELUS, type PlainNumbers, type PlainWeights, plainDecoderOf, refuseKeys } from '../plain-decoder.js';

// GPT-2 (Radford et al. 2019), and models with its architecture.

export const gpt2: Family = { parse };

const size = z.number().int().positive();
const token = z.number().int();

const fileSchema = z.object({
  n_embd: size,
  n_layer: size.max(10_000),
  n_head: size,
  n_inner: size.nullish(),
  n_positions: size,
  vocab_size: size,
  layer_norm_epsilon: z.number().positive(),
  activation_function: z.string().nullish(),
  bos_token_id: token.nullish(),
  eos_token_id: z.union([token, z.array(token)]).nullish(),
  pad_token_id: token.nullish(),
  tie_word_embeddings: z.boolean().nullish(),
  scale_attn_weights: z.boolean().nullish(),
  scale_attn_by_inverse_layer_idx: z.boolean().nullish(),
});

/** Defaults of keys missing in config.json, as in transformers. */
const DEFAULTS = { layer_norm_epsilon: 1e-5, bos_token_id: 50_256, eos_token_id: 50_256, n_positions: 1024 };

function parse({ path, keys, outer }: ConfigFile): ModelConfig {
  const unsupported = unsupportedIn(path);
  refuseKeys(['quantization_config', 'add_cross_attention'], [outer, keys], unsupported);
  const remedy = 'Use the config.json that came with the checkpoint.';
  const file = checkJson(fileSchema, { ...DEFAULTS, ...keys }, path, remedy);
  const { n_embd: hidden, n_head: heads, n_layer: layers } = file;
  const activation = GELUS[file.activation_function ?? 'gelu_new'];
  if (hidden % heads !== 0) unsupported('n_head', heads);
  const headDim = hidden / heads;
  const scale = file.scale_attn_weights === false ? 1 : 1 / Math.sqrt(headDim);
  const numbers: PlainNumbers = {
    name: 'GPT-2',
    ...{ layers, hidden, heads, headDim },
    mlp: file.n_inner ?? 4 * hidden,
    vocabulary: file.vocab_size,
    maxContext: file.n_positions,
    epsilon: file.layer_norm_epsilon,
    activation: activation ?? unsupported('activation_function', file.activation_function),
    parallel: false,
    rope: null,
    attentionScales: Array.from({ length: layers }, (_, layer) =>
      file.scale_attn_by_inverse_layer_idx ? scale / (layer + 1) : scale,
    ),
    tiedHead: file.tie_word_embeddings ?? true,
    bosTokenId: file.bos_token_id ?? -1,
    special: new Map(
      (['eos_token_id', 'pad_token_id'] as const).map((key) => [key, [file[key] ?? []].flat().filter((id) => id >= 0)]),
    ),
  };
  return plainDecoderOf(numbers, weightsOf(numbers), 'tokenizer');
}

const NAMES: TensorNames = {
  prefixes: ['transformer.', ''],
  anchor: 'wte.weight',
  elsewhere: { 'lm_head.weight': ['lm_head.weight'] },
  blocks: 'h.',
  derived: /\.attn\.(bias|masked_bias)$/,
  typical: 'h.0.mlp.c_fc.weight',
};

const MATRICES = { attentionOut: 'attn.c_proj', mlpIn: 'mlp.c_fc', mlpOut: 'mlp.c_proj' } as const;

/** Matrices are [in, out] here. */
function weightsOf(c: PlainNumbers): PlainWeights {
  const { hidden, mlp, vocabulary } = c;
  const named = (norm: string) => [`${norm}.weight`, `${norm}.bias`] as const;
  return {
    names: NAMES,
    tensors: () => {
      const tensors = new Map<string, readonly number[]>([
        ['wte.weight', [vocabulary, hidden]],
        ['wpe.weight', [c.maxContext, hidden]],
      ]);
      const add = (name: string, weight: number[]) => {
        tensors.set(`${name}.weight`, weight);
        tensors.set(`${name}.bias`, weight.slice(-1));
      };
      for (let layer = 0; layer < c.layers; layer++) {
        const block = `h.${layer}`;
        add(`${block}.ln_1`, [hidden]);
        add(`${block}.ln_2`, [hidden]);
        add(`${block}.attn.c_attn`, [hidden, 3 * hidden]);
        add(`${block}.${MATRICES.attentionOut}`, [hidden, hidden]);
        add(`${block}.${MATRICES.mlpIn}`, [hidden, mlp]);
        add(`${block}.${MATRICES.mlpOut}`, [mlp, hidden]);
      }
      add('ln_f', [hidden]);
      if (!c.tiedHead) tensors.set('lm_head.weight', [vocabulary, hidden]);
      return tensors;
    },
    embedding: 'wte.weight',
    positions: 'wpe.weight',
    norm: (which, layer) => named(`h.${layer}.${which === 'attention' ? 'ln_1' : 'ln_2'}`),
    finalNorm: named('ln_f'),
    qkv: (writer, layer, x) => {
      const matrix = `h.${layer}.attn.c_attn`;
      const fused = writer.linearOfColumns(x, `${matrix}.weight`, `${matrix}.bias`);
      const part = (i: number) => writer.g.slice(fused, i * hidden, (i + 1) * hidden, 2);
      return [part(0), part(1), part(2)];
    },
    linear: (writer, which, layer, x, biased) => {
      const matrix = `h.${layer}.${MATRICES[which]}`;
      return writer.linearOfColumns(x, `${matrix}.weight`, biased ? `${matrix}.bias` : undefined);
    },
    unembed: (writer, x, body) => {
      const matrix = c.tiedHead ? 'wte.weight' : 'lm_head.weight';
      return body.matmul(x, writer.weight(matrix, writer.placement.precision), { transB: true });
    },
    unembedBias: null,
  };
}
