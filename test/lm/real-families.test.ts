import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { spliceGraph } from '../../src/eval/splice-graph.js';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { findHook } from '../../src/lm/hooks.js';
import { temporaryDirectory } from '../temporary.js';
import { attribute, readGraph } from './read-graph.js';
import { bytesOf, type Shapes, writeSparse } from './sparse-files.js';

/** A model as its publisher describes it, and what is known of it otherwise. */
interface Real {
  readonly config: Readonly<Record<string, unknown>>;
  /** By the model card. */
  readonly parameters: number;
  readonly layers: number;
  readonly shapes: Shapes;
  readonly prefix: string;
  readonly width: number;
  /** Of attention: heads, heads of keys, factor of the scores. */
  readonly attention: readonly [heads: number, kvHeads: number, scale: number];
  /** Layers whose heads are wider than those of the others. */
  readonly wideHeads?: number;
}

function blocks(layers: number, block: (layer: number) => Shapes): Shapes {
  return Array.from({ length: layers }, (_, layer) => block(layer)).flat();
}

/** Tensors of a Llama-like model; `more` are those of a block that another has not. */
function gated(
  { layers, d, q, k, mlp, vocabulary }: Record<'layers' | 'd' | 'q' | 'k' | 'mlp' | 'vocabulary', number>,
  more: (block: string) => Shapes = () => [],
  tied = false,
): Shapes {
  return [
    ['model.embed_tokens.weight', [vocabulary, d]],
    ...blocks(layers, (layer) => {
      const block = `model.layers.${layer}`;
      return [
        [`${block}.self_attn.q_proj.weight`, [q, d]],
        [`${block}.self_attn.k_proj.weight`, [k, d]],
        [`${block}.self_attn.v_proj.weight`, [k, d]],
        [`${block}.self_attn.o_proj.weight`, [d, q]],
        [`${block}.mlp.gate_proj.weight`, [mlp, d]],
        [`${block}.mlp.up_proj.weight`, [mlp, d]],
        [`${block}.mlp.down_proj.weight`, [d, mlp]],
        [`${block}.input_layernorm.weight`, [d]],
        [`${block}.post_attention_layernorm.weight`, [d]],
        ...more(block),
      ];
    }),
    ['model.norm.weight', [d]],
    ...(tied ? [] : ([['lm_head.weight', [vocabulary, d]]] as Shapes)),
  ];
}

const withBias = (name: string, weight: number[], out: number): Shapes => [
  [`${name}.weight`, weight],
  [`${name}.bias`, [out]],
];

function neox(layers: number, d: number, vocabulary: number): Shapes {
  return [
    ['gpt_neox.embed_in.weight', [vocabulary, d]],
    ...blocks(layers, (layer) => {
      const block = `gpt_neox.layers.${layer}`;
      return [
        ...withBias(`${block}.input_layernorm`, [d], d),
        ...withBias(`${block}.post_attention_layernorm`, [d], d),
        ...withBias(`${block}.attention.query_key_value`, [3 * d, d], 3 * d),
        ...withBias(`${block}.attention.dense`, [d, d], d),
        ...withBias(`${block}.mlp.dense_h_to_4h`, [4 * d, d], 4 * d),
        ...withBias(`${block}.mlp.dense_4h_to_h`, [d, 4 * d], d),
      ];
    }),
    ...withBias('gpt_neox.final_layer_norm', [d], d),
    ['embed_out.weight', [vocabulary, d]],
  ];
}

function gpt2(layers: number, d: number): Shapes {
  return [
    ['wte.weight', [50257, d]],
    ['wpe.weight', [1024, d]],
    ...blocks(layers, (layer) => [
      ...withBias(`h.${layer}.ln_1`, [d], d),
      ...withBias(`h.${layer}.attn.c_attn`, [d, 3 * d], 3 * d),
      ...withBias(`h.${layer}.attn.c_proj`, [d, d], d),
      ...withBias(`h.${layer}.ln_2`, [d], d),
      ...withBias(`h.${layer}.mlp.c_fc`, [d, 4 * d], 4 * d),
      ...withBias(`h.${layer}.mlp.c_proj`, [4 * d, d], d),
    ]),
    ...withBias('ln_f', [d], d),
  ];
}

const MODELS: Readonly<Record<string, Real>> = {
  'pythia-2.8b': {
    config: {
      ...{ architectures: ['GPTNeoXForCausalLM'], bos_token_id: 0, eos_token_id: 0, hidden_act: 'gelu' },
      ...{ hidden_size: 2560, initializer_range: 0.02, intermediate_size: 10240, layer_norm_eps: 1e-5 },
      ...{ max_position_embeddings: 2048, model_type: 'gpt_neox', num_attention_heads: 32, num_hidden_layers: 32 },
      ...{ rotary_emb_base: 10000, rotary_pct: 0.25, tie_word_embeddings: false, torch_dtype: 'float16' },
      ...{ transformers_version: '4.24.0', use_cache: true, use_parallel_residual: true, vocab_size: 50304 },
    },
    parameters: 2_775_208_960,
    layers: 32,
    shapes: neox(32, 2560, 50304),
    prefix: 'gpt_neox.',
    width: 2560,
    attention: [32, 32, 80],
  },
  'gpt2-xl': {
    config: {
      ...{ activation_function: 'gelu_new', architectures: ['GPT2LMHeadModel'], attn_pdrop: 0.1, bos_token_id: 50256 },
      ...{ embd_pdrop: 0.1, eos_token_id: 50256, initializer_range: 0.02, layer_norm_epsilon: 1e-5 },
      ...{ model_type: 'gpt2', n_ctx: 1024, n_embd: 1600, n_head: 25, n_layer: 48, n_positions: 1024 },
      ...{ output_past: true, resid_pdrop: 0.1, summary_type: 'cls_index', vocab_size: 50257 },
    },
    parameters: 1_557_611_200,
    layers: 48,
    shapes: gpt2(48, 1600),
    prefix: '',
    width: 1600,
    attention: [25, 25, 64],
  },
  'llama-3.1-8b': {
    config: {
      ...{ architectures: ['LlamaForCausalLM'], attention_bias: false, bos_token_id: 128000, eos_token_id: 128001 },
      ...{ hidden_act: 'silu', hidden_size: 4096, intermediate_size: 14336, max_position_embeddings: 131072 },
      ...{ mlp_bias: false, model_type: 'llama', num_attention_heads: 32, num_hidden_layers: 32 },
      ...{ num_key_value_heads: 8, pretraining_tp: 1, rms_norm_eps: 1e-5, rope_theta: 500000 },
      rope_scaling: {
        ...{ factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 },
        rope_type: 'llama3',
      },
      ...{ tie_word_embeddings: false, torch_dtype: 'bfloat16', vocab_size: 128256 },
    },
    parameters: 8_030_261_248,
    layers: 32,
    shapes: gated({ layers: 32, d: 4096, q: 4096, k: 1024, mlp: 14336, vocabulary: 128256 }),
    prefix: 'model.',
    width: 4096,
    attention: [32, 8, 128],
  },
  'mistral-7b-v0.1': {
    config: {
      ...{ architectures: ['MistralForCausalLM'], bos_token_id: 1, eos_token_id: 2, hidden_act: 'silu' },
      ...{ hidden_size: 4096, intermediate_size: 14336, max_position_embeddings: 32768, model_type: 'mistral' },
      ...{ num_attention_heads: 32, num_hidden_layers: 32, num_key_value_heads: 8, rms_norm_eps: 1e-5 },
      ...{ rope_theta: 10000, sliding_window: 4096, tie_word_embeddings: false, vocab_size: 32000 },
    },
    parameters: 7_241_732_096,
    layers: 32,
    shapes: gated({ layers: 32, d: 4096, q: 4096, k: 1024, mlp: 14336, vocabulary: 32000 }),
    prefix: 'model.',
    width: 4096,
    attention: [32, 8, 128],
  },
  'qwen2.5-0.5b': {
    config: {
      ...{ architectures: ['Qwen2ForCausalLM'], bos_token_id: 151643, eos_token_id: 151643, hidden_act: 'silu' },
      ...{ hidden_size: 896, intermediate_size: 4864, max_position_embeddings: 32768, max_window_layers: 24 },
      ...{ model_type: 'qwen2', num_attention_heads: 14, num_hidden_layers: 24, num_key_value_heads: 2 },
      ...{ rms_norm_eps: 1e-6, rope_theta: 1e6, sliding_window: 32768, tie_word_embeddings: true },
      ...{ use_mrope: false, use_sliding_window: false, vocab_size: 151936 },
    },
    parameters: 494_032_768,
    layers: 24,
    shapes: gated(
      { layers: 24, d: 896, q: 896, k: 128, mlp: 4864, vocabulary: 151936 },
      (block) => [
        [`${block}.self_attn.q_proj.bias`, [896]],
        [`${block}.self_attn.k_proj.bias`, [128]],
        [`${block}.self_attn.v_proj.bias`, [128]],
      ],
      true,
    ),
    prefix: 'model.',
    width: 896,
    attention: [14, 2, 64],
  },
  'qwen3-8b': {
    config: {
      ...{ architectures: ['Qwen3ForCausalLM'], attention_bias: false, bos_token_id: 151643, eos_token_id: 151645 },
      ...{ head_dim: 128, hidden_act: 'silu', hidden_size: 4096, intermediate_size: 12288 },
      ...{ max_position_embeddings: 40960, max_window_layers: 36, model_type: 'qwen3', num_attention_heads: 32 },
      ...{ num_hidden_layers: 36, num_key_value_heads: 8, rms_norm_eps: 1e-6, rope_scaling: null, rope_theta: 1e6 },
      ...{ sliding_window: null, tie_word_embeddings: false, use_sliding_window: false, vocab_size: 151936 },
    },
    parameters: 8_190_735_360,
    layers: 36,
    shapes: gated({ layers: 36, d: 4096, q: 4096, k: 1024, mlp: 12288, vocabulary: 151936 }, (block) => [
      [`${block}.self_attn.q_norm.weight`, [128]],
      [`${block}.self_attn.k_norm.weight`, [128]],
    ]),
    prefix: 'model.',
    width: 4096,
    attention: [32, 8, 128],
  },
  // What transformers fills in where config.json is silent.
  'gemma-4-defaults': {
    config: { architectures: ['Gemma4ForConditionalGeneration'], model_type: 'gemma4', text_config: {} },
    parameters: 5077177886,
    layers: 30,
    shapes: gemma4({ layers: 30, d: 2304, mlp: 9216, heads: 8, keys: 4, wideKeys: 4, per: 256, shared: 0 }),
    prefix: 'model.language_model.',
    width: 2304,
    attention: [8, 4, 1],
    wideHeads: 5,
  },
  'gemma-4-e4b': {
    config: gemma4Config(7, {
      ...{ hidden_size: 2560, num_hidden_layers: 42, intermediate_size: 10240, num_attention_heads: 8 },
      ...{ num_key_value_heads: 2, num_kv_shared_layers: 18, sliding_window: 512, use_double_wide_mlp: false },
      ...{ hidden_size_per_layer_input: 256, vocab_size_per_layer_input: 262144, attention_k_eq_v: false },
    }),
    parameters: 7_463_013_418,
    layers: 42,
    shapes: gemma4({ layers: 42, d: 2560, mlp: 10240, heads: 8, keys: 2, wideKeys: 2, per: 256, shared: 18 }),
    prefix: 'model.language_model.',
    width: 2560,
    attention: [8, 2, 1],
    wideHeads: 7,
  },
  'gemma-4-31b': {
    config: gemma4Config(10, {
      ...{ hidden_size: 5376, num_hidden_layers: 60, intermediate_size: 21504, num_attention_heads: 32 },
      ...{ num_key_value_heads: 16, num_global_key_value_heads: 4, num_kv_shared_layers: 0, sliding_window: 1024 },
      ...{ hidden_size_per_layer_input: 0, attention_k_eq_v: true, use_double_wide_mlp: false },
    }),
    parameters: 30_697_345_340,
    layers: 60,
    shapes: gemma4({ layers: 60, d: 5376, mlp: 21504, heads: 32, keys: 16, wideKeys: 4, per: 0, shared: 0 }),
    prefix: 'model.language_model.',
    width: 5376,
    attention: [32, 16, 1],
    wideHeads: 10,
  },
};

/** config.json of a Gemma 4 with this many times five layers with a window and one without. */
function gemma4Config(periods: number, text: Readonly<Record<string, unknown>>): Record<string, unknown> {
  const period = [...Array.from({ length: 5 }, () => 'sliding_attention'), 'full_attention'];
  return {
    architectures: ['Gemma4ForConditionalGeneration'],
    model_type: 'gemma4',
    text_config: {
      model_type: 'gemma4_text',
      ...{ head_dim: 256, global_head_dim: 512, vocab_size: 262144, rms_norm_eps: 1e-6 },
      ...{ max_position_embeddings: 131072, final_logit_softcapping: 30, tie_word_embeddings: true },
      ...{ enable_moe_block: false, layer_types: Array.from({ length: periods }, () => period).flat() },
      rope_parameters: {
        sliding_attention: { rope_type: 'default', rope_theta: 10_000 },
        full_attention: { rope_type: 'proportional', rope_theta: 1_000_000, partial_rotary_factor: 0.25 },
      },
      ...text,
    },
  };
}

/**
 * Of Gemma 4: every sixth layer has heads of 512, and takes its keys as values where it has fewer of them (`wideKeys`);
 * the last `shared` layers have neither.
 */
function gemma4({
  layers,
  d,
  mlp,
  heads,
  keys,
  wideKeys,
  per,
  shared,
}: Record<'layers' | 'd' | 'mlp' | 'heads' | 'keys' | 'wideKeys' | 'per' | 'shared', number>): Shapes {
  const prefix = 'model.language_model.';
  const perLayer: Shapes = [
    [`${prefix}embed_tokens_per_layer.weight`, [262144, layers * per]],
    [`${prefix}per_layer_model_projection.weight`, [layers * per, d]],
    [`${prefix}per_layer_projection_norm.weight`, [per]],
  ];
  const block = (layer: number): Shapes => {
    const wide = layer % 6 === 5;
    const [head, k] = wide ? [512, wideKeys * 512] : [256, keys * 256];
    const norms = ['input', 'post_attention', 'pre_feedforward', 'post_feedforward'].map((n) => `${n}_layernorm`);
    const named: Shapes = [
      ['self_attn.q_proj', [heads * head, d]],
      ['self_attn.o_proj', [d, heads * head]],
      ['self_attn.q_norm', [head]],
      ['mlp.gate_proj', [mlp, d]],
      ['mlp.up_proj', [mlp, d]],
      ['mlp.down_proj', [d, mlp]],
      ...norms.map((norm): Shapes[number] => [norm, [d]]),
    ];
    if (layer < layers - shared) {
      named.push(['self_attn.k_proj', [k, d]], ['self_attn.k_norm', [head]]);
      if (!wide || wideKeys === keys) named.push(['self_attn.v_proj', [k, d]]);
    }
    if (per > 0) {
      named.push(['per_layer_input_gate', [per, d]], ['per_layer_projection', [d, per]]);
      named.push(['post_per_layer_input_norm', [d]]);
    }
    const full = named.map(([name, shape]): Shapes[number] => [`${prefix}layers.${layer}.${name}.weight`, shape]);
    return [...full, [`${prefix}layers.${layer}.layer_scalar`, [1]]];
  };
  return [
    [`${prefix}embed_tokens.weight`, [262144, d]],
    ...(per > 0 ? perLayer : []),
    ...blocks(layers, block),
    [`${prefix}norm.weight`, [d]],
  ];
}

const root = temporaryDirectory();

for (const [name, real] of Object.entries(MODELS)) {
  test(`${name}: the graph is built from files of the true size without reading weights`, {
    timeout: 60_000,
  }, async () => {
    const parameters = real.shapes.reduce((sum, [, shape]) => sum + bytesOf(shape) / 2, 0);
    assert.equal(parameters, real.parameters);
    const directory = join(root, name);
    const places = writeSparse(directory, real.config, real.shapes, 5e9);
    const checkpoint = await openCheckpoint(directory);
    const hook = findHook(`blocks.${real.layers - 1}.hook_resid_post`, checkpoint.config);
    assert.equal(hook.width, real.width);
    const placement = { device: 'cuda', precision: 'bfloat16' } as const;
    const { external, nodes } = readGraph(spliceGraph(checkpoint, hook, [], 1024, placement));
    // Every tensor is used, as it lies in its file.
    const expected = real.shapes.map(([full]) => full.replace(real.prefix, '')).sort();
    assert.deepEqual([...external.keys()].sort(), expected);
    for (const [full, shape] of real.shapes) {
      const found = external.get(full.replace(real.prefix, ''))!;
      assert.deepEqual(found.dims, shape, full);
      assert.deepEqual({ path: found.path, offset: found.offset }, places.get(full)!, full);
    }
    const [heads, kvHeads, headDim] = real.attention;
    const attention = nodes('GroupQueryAttention');
    assert.equal(attention.length, real.layers - (real.wideHeads ?? 0));
    assert.equal(nodes('Attention').length, real.wideHeads ?? 0);
    for (const node of attention) {
      assert.equal(attribute(node, 'num_heads'), heads);
      assert.equal(attribute(node, 'kv_num_heads'), kvHeads);
      assert.ok(Math.abs(attribute(node, 'scale')! * Math.sqrt(headDim) - 1) < 1e-6);
    }
  });
}
