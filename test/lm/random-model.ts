import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type SafetensorsDType, type TensorToWrite, writeSafetensors } from '../../src/safetensors/file.js';
import { openGolden } from '../golden.js';

/** The Gemmas of scripts/golden_families.py: two of each generation, multi-query and grouped-query. */
export const RANDOM_GEMMAS = [
  'gemma-mqa',
  'gemma-gqa',
  'gemma2-mqa',
  'gemma2-gqa',
  'gemma3-mqa',
  'gemma3-gqa',
] as const;

/** All models of scripts/golden_families.py, two of each family at least. */
export const RANDOM_MODELS = [
  ...RANDOM_GEMMAS,
  'vault-gqa',
  'vault-mqa',
  'gemma4-dense',
  'gemma4-e',
  'llama-gqa',
  'llama-biased',
  'mistral-window',
  'mistral-full',
  'qwen2-gqa',
  'qwen2-window',
  'qwen3-gqa',
  'qwen3-biased',
  'neox-parallel',
  'neox-sequential',
  'gpt2-tied',
  'gpt2-scaled',
] as const;
export type RandomModel = (typeof RANDOM_MODELS)[number];

export type Json = Record<string, unknown>;

/** A model's reference data, with what is needed to make its checkpoint. */
export async function openRandomModel(name: RandomModel | 'gelu-1l' | 'gelu-2l') {
  const golden = await openGolden(name);
  const parsed = (key: string) => JSON.parse(golden.metadata[key]!) as unknown;
  return {
    golden,
    /** As transformers writes it. */
    config: parsed('config') as Json,
    /** Shapes by name, as transformers saves them. */
    shapes: parsed('tensors') as Record<string, number[]>,
    hooks: parsed('hooks') as string[],
    tokens: await golden.ints('tokens'),
    context: golden.location('tokens').shape[1]!,
  };
}
export type OpenRandomModel = Awaited<ReturnType<typeof openRandomModel>>;

/** Families that store norm weights as offsets from 1. */
const OFFSET_NORMS = ['gemma', 'gemma2', 'gemma3', 'gemma3_text', 'vaultgemma'];

/** The weights that integer_weights() of scripts/golden_families.py gives: exact in every element type used here. */
export function integerWeights(name: string, count: number, modelType: unknown): Float32Array {
  let seed = 0x811c9dc5;
  for (const byte of Buffer.from(name)) seed = Math.imul(seed ^ byte, 0x01000193);
  const isNorm = !OFFSET_NORMS.includes(String(modelType)) && /(norm|ln_|\.ln).*(weight|\.w)$/.test(name);
  const soft = modelType === 'gemma4_text' && /[qk]_norm/.test(name);
  const norm = (isNorm || name.includes('layer_scalar')) && !soft;
  const scale = norm || /q_proj|k_proj|query_key|c_attn|embed|lm_head|wte|W_Q|W_K/.test(name) ? 2 ** -7 : 2 ** -8;
  return Float32Array.from({ length: count }, (_, i) => {
    let h = (seed + Math.imul(i, 0x9e3779b1)) | 0;
    h = Math.imul(h ^ (h >>> 15), 0x85ebca6b);
    h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35);
    h ^= h >>> 16;
    return (((h >>> 0) % 255) - 127) * scale + Number(norm);
  });
}

export interface CheckpointOptions {
  /** Element type of the weights. */
  readonly dtype?: 'F32' | 'F16' | 'BF16';
  /** In how many files; the tensors are dealt in turn. */
  readonly shards?: number;
  /** Name of a tensor in the file, by its name in the golden. */
  readonly rename?: (name: string) => string;
  readonly config?: Json;
  /** Tensors in addition to the model's. */
  readonly more?: readonly TensorToWrite[];
}

/** Writes a checkpoint directory of the model as Hugging Face lays one out. */
export async function writeCheckpoint(
  directory: string,
  { shapes, config }: Pick<OpenRandomModel, 'shapes' | 'config'>,
  { dtype = 'F32', shards = 1, rename = (name) => name, config: other, more = [] }: CheckpointOptions = {},
): Promise<string> {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, 'config.json'), JSON.stringify(other ?? config, null, 2));
  const tensors = Object.entries(shapes).map(([name, shape]): TensorToWrite => {
    const count = shape.reduce((product, dim) => product * dim, 1);
    return { name: rename(name), dtype, shape, bytes: encode(integerWeights(name, count, config.model_type), dtype) };
  });
  if (shards === 1) {
    await writeSafetensors(join(directory, 'model.safetensors'), [...tensors, ...more]);
    return directory;
  }
  const five = (n: number) => String(n).padStart(5, '0');
  const weight_map: Record<string, string> = {};
  for (let shard = 0; shard < shards; shard++) {
    const file = `model-${five(shard + 1)}-of-${five(shards)}.safetensors`;
    const own = tensors.filter((_, i) => i % shards === shard);
    for (const { name } of own) weight_map[name] = file;
    await writeSafetensors(join(directory, file), own);
  }
  writeFileSync(join(directory, 'model.safetensors.index.json'), JSON.stringify({ metadata: {}, weight_map }));
  return directory;
}

/** Bytes of values that the element type holds exactly. */
function encode(values: Float32Array, dtype: SafetensorsDType): Uint8Array {
  if (dtype === 'F32') return new Uint8Array(values.buffer);
  const bits = new Uint32Array(values.buffer);
  const half = new Uint16Array(values.length);
  for (const [i, word] of bits.entries()) {
    // Eight significant bits and small exponents: cutting is exact in both formats.
    const exponent = (word >>> 23) & 0xff;
    if (dtype === 'BF16') half[i] = word >>> 16;
    else if (exponent > 0) half[i] = ((word >>> 16) & 0x8000) | ((exponent - 112) << 10) | ((word >>> 13) & 0x3ff);
  }
  return new Uint8Array(half.buffer);
}
