import { mkdirSync, writeFileSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { join } from 'node:path';
import { parseModelConfig } from '../src/lm/families/registry.js';
import { Generator } from '../src/random/generator.js';
import { toBfloat16 } from '../src/safetensors/floats.js';

/** What both sizes share: everything in Gemma 1's config.json except its dimensions. */
const GEMMA = {
  architectures: ['GemmaForCausalLM'],
  model_type: 'gemma',
  bos_token_id: 2,
  eos_token_id: 1,
  pad_token_id: 0,
  hidden_act: 'gelu_pytorch_tanh',
  hidden_activation: 'gelu_pytorch_tanh',
  max_position_embeddings: 8192,
  rms_norm_eps: 1e-6,
  rope_theta: 10000.0,
  tie_word_embeddings: true,
  torch_dtype: 'bfloat16',
};

const GEMMA_7B = {
  ...GEMMA,
  hidden_size: 3072,
  intermediate_size: 24576,
  num_hidden_layers: 28,
  num_attention_heads: 16,
  num_key_value_heads: 16,
  head_dim: 256,
  vocab_size: 256000,
} as const;

/**
 * config.json of Gemma 7B, of four of its layers (3.8 GB, for sessions that are short), of one that a CPU runs in
 * seconds, and of one that costs next to nothing.
 */
export const SIZES = {
  '7b': GEMMA_7B,
  '7b-layers': { ...GEMMA_7B, num_hidden_layers: 4 },
  small: {
    ...GEMMA,
    hidden_size: 256,
    intermediate_size: 1024,
    num_hidden_layers: 4,
    num_attention_heads: 4,
    num_key_value_heads: 2,
    head_dim: 64,
    vocab_size: 8000,
  },
  least: {
    ...GEMMA,
    hidden_size: 16,
    intermediate_size: 16,
    num_hidden_layers: 1,
    num_attention_heads: 1,
    num_key_value_heads: 1,
    head_dim: 8,
    // That of the bundled model, whose tokenizer it is given.
    vocab_size: 4096,
  },
} as const;
export type Size = keyof typeof SIZES;

/** Hugging Face's own limit on a file of Gemma 7B, and one that gives the small model several, too. */
const SHARD_BYTES: Record<Size, number> = { '7b': 5e9, '7b-layers': 5e9, small: 6e6, least: 6e6 };

/** Values drawn from the normal distribution; a tensor is put together from pieces of them (8 MiB). */
const POOL = 2 ** 22;

type Tensor = readonly [name: string, shape: readonly number[]];

const entries = (shape: readonly number[]) => shape.reduce((product, dim) => product * dim, 1);

function tensorsOf(size: Size): Tensor[] {
  const expected = parseModelConfig(SIZES[size], 'config.json').tensors();
  return [...expected].map(([name, shape]) => [`model.${name}`, shape]);
}

/** Weights of a size of model. */
export function parametersOf(size: Size): number {
  return tensorsOf(size).reduce((sum, [, shape]) => sum + entries(shape), 0);
}

/**
 * Writes a Gemma checkpoint of random bfloat16 weights as Hugging Face lays one out: config.json, shards, their index.
 * Weights are normal with deviation 1/√hidden, so that a product with a normalised vector keeps its size and
 * activations stay finite however deep the model. They are cut at random places from one pool of values, which takes
 * no longer than the disk does.
 */
export async function writeRandomCheckpoint(directory: string, size: Size, seed = 0): Promise<void> {
  mkdirSync(directory, { recursive: true });
  const config = SIZES[size];
  const random = new Generator(seed);
  const deviation = 1 / Math.sqrt(config.hidden_size);
  const pool = toBfloat16(Float32Array.from({ length: POOL }, () => deviation * random.normal()));
  const shards = shardsOf(tensorsOf(size), SHARD_BYTES[size]);
  const weight_map: Record<string, string> = {};
  const five = (n: number) => String(n).padStart(5, '0');
  for (const [i, tensors] of shards.entries()) {
    const name = `model-${five(i + 1)}-of-${five(shards.length)}.safetensors`;
    for (const [tensor] of tensors) weight_map[tensor] = name;
    await writeShard(join(directory, name), tensors, pool, random);
  }
  const total_size = 2 * parametersOf(size);
  const index = { metadata: { total_size }, weight_map };
  writeFileSync(join(directory, 'model.safetensors.index.json'), JSON.stringify(index, null, 2));
  writeFileSync(join(directory, 'config.json'), JSON.stringify(config, null, 2));
}

/** Deals tensors, in their order, into files of at most `most` bytes (one tensor may be larger). */
function shardsOf(tensors: readonly Tensor[], most: number): Tensor[][] {
  const shards: Tensor[][] = [];
  let filled = Number.POSITIVE_INFINITY;
  for (const tensor of tensors) {
    const bytes = 2 * entries(tensor[1]);
    if (filled + bytes > most) {
      shards.push([]);
      filled = 0;
    }
    shards.at(-1)!.push(tensor);
    filled += bytes;
  }
  return shards;
}

async function writeShard(path: string, tensors: readonly Tensor[], pool: Uint16Array, random: Generator) {
  const header: Record<string, unknown> = { __metadata__: { format: 'pt' } };
  let end = 0;
  for (const [name, shape] of tensors) {
    const begin = end;
    end += 2 * entries(shape);
    header[name] = { dtype: 'BF16', shape, data_offsets: [begin, end] };
  }
  const json = Buffer.from(JSON.stringify(header));
  const padded = Buffer.alloc(Math.ceil(json.length / 8) * 8, ' ');
  json.copy(padded);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  const file = await open(path, 'w');
  try {
    await file.writeFile(Buffer.concat([length, padded]));
    for (const [, shape] of tensors) {
      for (let left = entries(shape); left > 0; ) {
        const at = random.below(POOL / 2);
        const piece = pool.subarray(at, Math.min(POOL, at + left));
        await file.writeFile(new Uint8Array(piece.buffer, piece.byteOffset, piece.byteLength));
        left -= piece.length;
      }
    }
  } finally {
    await file.close();
  }
}
