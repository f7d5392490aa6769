import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { spliceGraph } from '../../src/eval/splice-graph.js';
import { harvestGraph } from '../../src/harvest/forward-pass.js';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { findHook } from '../../src/lm/hooks.js';
import { TensorProto_DataType } from '../../src/onnx/onnx_pb.js';
import { temporaryDirectory } from '../temporary.js';
import { attribute, readGraph } from './read-graph.js';
import { bytesOf, type Shapes, writeSparse } from './sparse-files.js';

/** A model as its publisher describes it, and what is known of it otherwise. */
interface Real {
  readonly config: Record<string, unknown>;
  readonly prefix: string;
  /** Of the language model, by the model card. */
  readonly parameters: number;
  /** Bytes of a file, at most. */
  readonly shard: number;
  readonly layers: number;
  readonly heads: readonly [query: number, key: number, size: number];
  readonly hidden: number;
  readonly mlp: number;
  readonly vocabulary: number;
  readonly norms: readonly string[];
  /** Divisor of the scores, window, cap, and which layers have the window. */
  readonly scale: number;
  readonly window: number | null;
  readonly cap: number | undefined;
  readonly slides: (layer: number) => boolean;
}

const GIB = 2 ** 30;
const POST = ['input', 'post_attention', 'pre_feedforward', 'post_feedforward'].map((n) => `${n}_layernorm`);
const GEMMA_2 = {
  architectures: ['Gemma2ForCausalLM'],
  attention_bias: false,
  attention_dropout: 0.0,
  attn_logit_softcapping: 50.0,
  bos_token_id: 2,
  cache_implementation: 'hybrid',
  eos_token_id: 1,
  final_logit_softcapping: 30.0,
  hidden_act: 'gelu_pytorch_tanh',
  hidden_activation: 'gelu_pytorch_tanh',
  initializer_range: 0.02,
  max_position_embeddings: 8192,
  model_type: 'gemma2',
  pad_token_id: 0,
  rms_norm_eps: 1e-6,
  rope_theta: 10000.0,
  sliding_window: 4096,
  sliding_window_size: 4096,
  torch_dtype: 'float32',
  transformers_version: '4.42.0.dev0',
  use_cache: true,
  vocab_size: 256000,
};

const MODELS: Record<string, Real> = {
  'gemma-7b': {
    config: {
      architectures: ['GemmaForCausalLM'],
      attention_bias: false,
      attention_dropout: 0.0,
      bos_token_id: 2,
      eos_token_id: 1,
      head_dim: 256,
      hidden_act: 'gelu',
      hidden_activation: null,
      hidden_size: 3072,
      initializer_range: 0.02,
      intermediate_size: 24576,
      max_position_embeddings: 8192,
      model_type: 'gemma',
      num_attention_heads: 16,
      num_hidden_layers: 28,
      num_key_value_heads: 16,
      pad_token_id: 0,
      rms_norm_eps: 1e-6,
      rope_scaling: null,
      rope_theta: 10000.0,
      torch_dtype: 'bfloat16',
      transformers_version: '4.38.0.dev0',
      use_cache: true,
      vocab_size: 256000,
    },
    prefix: 'model.',
    parameters: 8_537_680_896,
    shard: 5e9,
    layers: 28,
    heads: [16, 16, 256],
    hidden: 3072,
    mlp: 24576,
    vocabulary: 256000,
    norms: POST.slice(0, 2),
    scale: 256,
    window: null,
    cap: undefined,
    slides: () => false,
  },
  'gemma-2-9b': {
    config: {
      ...GEMMA_2,
      head_dim: 256,
      hidden_size: 3584,
      intermediate_size: 14336,
      num_attention_heads: 16,
      num_hidden_layers: 42,
      num_key_value_heads: 8,
      query_pre_attn_scalar: 256,
    },
    prefix: 'model.',
    parameters: 9_241_705_984,
    shard: 5e9,
    layers: 42,
    heads: [16, 8, 256],
    hidden: 3584,
    mlp: 14336,
    vocabulary: 256000,
    norms: POST,
    scale: 256,
    window: 4096,
    cap: 50,
    slides: (layer) => layer % 2 === 0,
  },
  'gemma-2-27b': {
    config: {
      ...GEMMA_2,
      head_dim: 128,
      hidden_size: 4608,
      intermediate_size: 36864,
      num_attention_heads: 32,
      num_hidden_layers: 46,
      num_key_value_heads: 16,
      query_pre_attn_scalar: 144,
    },
    prefix: 'model.',
    parameters: 27_227_128_320,
    // One file, as some republish it: offsets beyond what 32 bits hold.
    shard: 1e12,
    layers: 46,
    heads: [32, 16, 128],
    hidden: 4608,
    mlp: 36864,
    vocabulary: 256000,
    norms: POST,
    scale: 144,
    window: 4096,
    cap: 50,
    slides: (layer) => layer % 2 === 0,
  },
  'gemma-3-27b-pt': {
    config: {
      architectures: ['Gemma3ForConditionalGeneration'],
      boi_token_index: 255999,
      eoi_token_index: 256000,
      eos_token_id: [1, 106],
      image_token_index: 262144,
      initializer_range: 0.02,
      mm_tokens_per_image: 256,
      model_type: 'gemma3',
      text_config: {
        head_dim: 128,
        hidden_size: 5376,
        intermediate_size: 21504,
        model_type: 'gemma3_text',
        num_attention_heads: 32,
        num_hidden_layers: 62,
        num_key_value_heads: 16,
        query_pre_attn_scalar: 168,
        rope_scaling: { factor: 8.0, rope_type: 'linear' },
        sliding_window: 1024,
      },
      torch_dtype: 'bfloat16',
      transformers_version: '4.50.0.dev0',
      vision_config: { hidden_size: 1152, image_size: 896, model_type: 'siglip_vision_model', patch_size: 14 },
    },
    prefix: 'language_model.model.',
    parameters: 27_009_346_304,
    shard: 5e9,
    layers: 62,
    heads: [32, 16, 128],
    hidden: 5376,
    mlp: 21504,
    vocabulary: 262208,
    norms: [...POST, 'self_attn.q_norm', 'self_attn.k_norm'],
    scale: 168,
    window: 1024,
    cap: undefined,
    slides: (layer) => layer % 6 !== 5,
  },
};

/** Every tensor of the language model, by Hugging Face's names. */
function tensorsOf({ prefix, layers, heads: [q, k, d], hidden, mlp, vocabulary, norms }: Real): Shapes {
  const shapes: Shapes = [[`${prefix}embed_tokens.weight`, [vocabulary, hidden]]];
  for (let layer = 0; layer < layers; layer++) {
    const block: Shapes = [
      ['self_attn.q_proj', [q * d, hidden]],
      ['self_attn.k_proj', [k * d, hidden]],
      ['self_attn.v_proj', [k * d, hidden]],
      ['self_attn.o_proj', [hidden, q * d]],
      ['mlp.gate_proj', [mlp, hidden]],
      ['mlp.up_proj', [mlp, hidden]],
      ['mlp.down_proj', [hidden, mlp]],
      ...norms.map((norm): Shapes[number] => [norm, [norm.includes('self_attn') ? d : hidden]]),
    ];
    for (const [name, shape] of block) shapes.push([`${prefix}layers.${layer}.${name}.weight`, shape]);
  }
  return [...shapes, [`${prefix}norm.weight`, [hidden]]];
}

const root = temporaryDirectory();

for (const [name, real] of Object.entries(MODELS)) {
  test(`${name}: the graph is built from files of the true size without reading weights`, {
    timeout: 60_000,
  }, async () => {
    const shapes = new Map(tensorsOf(real));
    const parameters = [...shapes.values()].reduce((sum, shape) => sum + bytesOf(shape) / 2, 0);
    assert.equal(parameters, real.parameters);
    const directory = join(root, name);
    const places = writeSparse(directory, real.config, [...shapes], real.shard);
    const checkpoint = await openCheckpoint(directory);

    const context = 8192;
    const hook = findHook(`blocks.${real.layers - 1}.hook_resid_post`, checkpoint.config);
    const placement = { device: 'cuda', precision: 'bfloat16' } as const;
    const { external, nodes } = readGraph(spliceGraph(checkpoint, hook, [], context, placement));
    const expected = new Map([...shapes].map(([full, shape]) => [full.slice(real.prefix.length), { full, shape }]));
    assert.deepEqual([...external.keys()].sort(), [...expected.keys()].sort());
    for (const [tensor, { dims, dataType, path, offset, length }] of external) {
      const { full, shape } = expected.get(tensor)!;
      assert.deepEqual(dims, shape, tensor);
      assert.equal(dataType, TensorProto_DataType.BFLOAT16);
      assert.deepEqual({ path, offset, length }, { ...places.get(full)!, length: bytesOf(shape) }, tensor);
      assert.ok(offset + length <= statSync(path).size);
    }
    assert.equal(
      [...external.values()].some(({ offset }) => offset > 2 ** 32),
      real.shard > 4 * GIB,
    );

    const attention = nodes('GroupQueryAttention');
    assert.equal(attention.length, real.layers);
    for (const [layer, node] of attention.entries()) {
      assert.equal(attribute(node, 'num_heads'), real.heads[0]);
      assert.equal(attribute(node, 'kv_num_heads'), real.heads[1]);
      assert.ok(Math.abs(attribute(node, 'scale')! * Math.sqrt(real.scale) - 1) < 1e-6);
      assert.equal(attribute(node, 'softcap'), real.cap);
      assert.equal(attribute(node, 'local_window_size'), real.slides(layer) ? real.window : -1, `layer ${layer}`);
    }
    // Up to a window's length no layer needs a separate mask.
    const short = readGraph(harvestGraph(checkpoint, [hook], 1024, 'float16', placement));
    assert.ok(short.nodes('GroupQueryAttention').every((node) => attribute(node, 'local_window_size') === -1));
    assert.ok(!short.external.has('norm.weight'), 'a harvest has no use for the final norm');
  });
}
