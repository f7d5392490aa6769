import { z } from 'zod';
import { checkJson } from '../../disk/json.js';
import type { Value } from '../../onnx/graph.js';
import { type ConfigFile, type Family, type ModelConfig, type TensorNames, unsupportedIn } from '../family.js';
import type { ModelWriter } from '../model-writer.js';
import { GELUS, type PlainNumbers, type PlainWeights, plainDecoderOf, refuseKeys } from '../plain-decoder.js';

// Small models trained and saved by TransformerLens: GELU-1L and its siblings with more layers. Their config.json has
// no model_type, their tensors have TransformerLens's names, and their weights are a .pth file.

export const hookedTransformer: Family = { parse };

/** Is it a config.json written by TransformerLens? */
export function isHookedTransformer(keys: Readonly<Record<string, unknown>>): boolean {
  return keys.model_type === undefined && ['d_model', 'n_heads', 'act_fn', 'd_vocab'].every((key) => key in keys);
}

const size = z.number().int().positive();

const fileSchema = z.object({
  d_model: size,
  n_layers: size.max(10_000),
  n_heads: size,
  d_head: size,
  d_mlp: size,
  n_ctx: size,
  d_vocab: size,
  act_fn: z.string(),
  normalization: z.string().nullish(),
  normalization_type: z.string().nullish(),
});

function parse({ path, keys, outer }: ConfigFile): ModelConfig {
  const unsupported = unsupportedIn(path);
  refuseKeys(['attn_only', 'shortformer_pos', 'parallel_attn_mlp', 'quantization_config'], [keys], unsupported);
  const remedy = 'Use the config.json that came with the checkpoint.';
  const file = checkJson(fileSchema, outer, path, remedy);
  const norm = file.normalization ?? file.normalization_type ?? null;
  // "LNPre" has its weights folded into the matrices, and "SoLU" models have a norm after the activation.
  if (norm !== 'LN') unsupported('normalization', norm);
  const numbers: PlainNumbers = {
    name: 'HookedTransformer',
    ...{ layers: file.n_layers, hidden: file.d_model, heads: file.n_heads, headDim: file.d_head, mlp: file.d_mlp },
    vocabulary: file.d_vocab,
    maxContext: file.n_ctx,
    // TransformerLens's default, which config.json does not contain.
    epsilon: 1e-5,
    activation: GELUS[file.act_fn] ?? unsupported('act_fn', file.act_fn),
    parallel: false,
    rope: null,
    attentionScales: Array.from({ length: file.n_layers }, () => 1 / Math.sqrt(file.d_head)),
    tiedHead: false,
    // From the tokenizer, since config.json does not give it.
    bosTokenId: -1,
    special: new Map(),
  };
  return plainDecoderOf(numbers, weightsOf(numbers), 'always');
}

const NAMES: TensorNames = {
  prefixes: [''],
  anchor: 'embed.W_E',
  elsewhere: {},
  blocks: 'blocks.',
  derived: /\.attn\.(mask|IGNORE)$/,
  typical: 'blocks.0.mlp.W_in',
};

/**
 * Matrices are [in, out], attention's split by head: W_Q, W_K, W_V [heads, hidden, headDim], W_O [heads, headDim,
 * hidden].
 */
function weightsOf(c: PlainNumbers): PlainWeights {
  const { heads, headDim, hidden, mlp, vocabulary } = c;
  const width = heads * headDim;
  const named = (norm: string) => [`${norm}.w`, `${norm}.b`] as const;
  const matrix = (writer: ModelWriter, name: string) => writer.weight(name, writer.placement.precision);
  const projected = (writer: ModelWriter, layer: number, which: string, x: Value) => {
    const { g } = writer;
    const weight = matrix(writer, `blocks.${layer}.attn.W_${which}`);
    const columns = g.reshape(g.op('Transpose', [weight], { perm: [1, 0, 2] }), hidden, width);
    const bias = g.reshape(matrix(writer, `blocks.${layer}.attn.b_${which}`), width);
    return g.add(g.matmul(x, columns), bias);
  };
  return {
    names: NAMES,
    tensors: () => {
      const tensors = new Map<string, readonly number[]>([
        ['embed.W_E', [vocabulary, hidden]],
        ['pos_embed.W_pos', [c.maxContext, hidden]],
      ]);
      const norm = (name: string) => {
        for (const tensor of named(name)) tensors.set(tensor, [hidden]);
      };
      for (let layer = 0; layer < c.layers; layer++) {
        const block = `blocks.${layer}`;
        norm(`${block}.ln1`);
        norm(`${block}.ln2`);
        for (const which of ['Q', 'K', 'V']) {
          tensors.set(`${block}.attn.W_${which}`, [heads, hidden, headDim]);
          tensors.set(`${block}.attn.b_${which}`, [heads, headDim]);
        }
        tensors.set(`${block}.attn.W_O`, [heads, headDim, hidden]);
        tensors.set(`${block}.attn.b_O`, [hidden]);
        tensors.set(`${block}.mlp.W_in`, [hidden, mlp]);
        tensors.set(`${block}.mlp.b_in`, [mlp]);
        tensors.set(`${block}.mlp.W_out`, [mlp, hidden]);
        tensors.set(`${block}.mlp.b_out`, [hidden]);
      }
      norm('ln_final');
      tensors.set('unembed.W_U', [hidden, vocabulary]);
      tensors.set('unembed.b_U', [vocabulary]);
      return tensors;
    },
    embedding: 'embed.W_E',
    positions: 'pos_embed.W_pos',
    norm: (which, layer) => named(`blocks.${layer}.${which === 'attention' ? 'ln1' : 'ln2'}`),
    finalNorm: named('ln_final'),
    qkv: (writer, layer, x) => [
      projected(writer, layer, 'Q', x),
      projected(writer, layer, 'K', x),
      projected(writer, layer, 'V', x),
    ],
    linear: (writer, which, layer, x, biased) => {
      const part = { attentionOut: 'attn.#_O', mlpIn: 'mlp.#_in', mlpOut: 'mlp.#_out' }[which];
      const name = (kind: string) => `blocks.${layer}.${part.replace('#', kind)}`;
      const weight = matrix(writer, name('W'));
      const rows = which === 'attentionOut' ? writer.g.reshape(weight, width, hidden) : weight;
      const product = writer.g.matmul(x, rows);
      return biased ? writer.g.add(product, matrix(writer, name('b'))) : product;
    },
    unembed: (writer, x, body) => body.matmul(x, matrix(writer, 'unembed.W_U')),
    unembedBias: 'unembed.b_U',
  };
}
