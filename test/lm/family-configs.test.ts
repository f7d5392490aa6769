import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Refusal } from '../../src/errors/refusal.js';
import type { DecoderConfig } from '../../src/lm/decoder.js';
import { parseModelConfig } from '../../src/lm/families/registry.js';
import { refusalOf } from '../config/refuses.js';

type Keys = Readonly<Record<string, unknown>>;

/** As their publishers write them, without what is not read. */
const LLAMA_3_1: Keys = {
  ...{ model_type: 'llama', hidden_size: 4096, intermediate_size: 14336, num_hidden_layers: 32, vocab_size: 128256 },
  ...{ num_attention_heads: 32, num_key_value_heads: 8, max_position_embeddings: 131072, rms_norm_eps: 1e-5 },
  ...{ hidden_act: 'silu', attention_bias: false, mlp_bias: false, tie_word_embeddings: false, pretraining_tp: 1 },
  ...{ bos_token_id: 128000, eos_token_id: 128001, rope_theta: 500000 },
  rope_scaling: {
    ...{ factor: 8, low_freq_factor: 1, high_freq_factor: 4, original_max_position_embeddings: 8192 },
    rope_type: 'llama3',
  },
};
const QWEN_2_5: Keys = {
  ...{ model_type: 'qwen2', hidden_size: 896, intermediate_size: 4864, num_hidden_layers: 24, vocab_size: 151936 },
  ...{ num_attention_heads: 14, num_key_value_heads: 2, max_position_embeddings: 32768, rms_norm_eps: 1e-6 },
  ...{ bos_token_id: 151643, eos_token_id: 151643, hidden_act: 'silu', rope_theta: 1e6, tie_word_embeddings: true },
  ...{ use_sliding_window: false, sliding_window: 32768, max_window_layers: 24 },
};
const QWEN_3: Keys = {
  ...{ model_type: 'qwen3', hidden_size: 4096, intermediate_size: 12288, num_hidden_layers: 36, vocab_size: 151936 },
  ...{ num_attention_heads: 32, num_key_value_heads: 8, head_dim: 128, max_position_embeddings: 40960 },
  ...{ rms_norm_eps: 1e-6, attention_bias: false, hidden_act: 'silu', rope_scaling: null, rope_theta: 1e6 },
  ...{ bos_token_id: 151643, eos_token_id: 151645, use_sliding_window: false, sliding_window: null },
  ...{ max_window_layers: 36, tie_word_embeddings: false },
};
const MISTRAL: Keys = {
  ...{ model_type: 'mistral', hidden_size: 4096, intermediate_size: 14336, num_hidden_layers: 32, vocab_size: 32000 },
  ...{ num_attention_heads: 32, num_key_value_heads: 8, max_position_embeddings: 32768, rms_norm_eps: 1e-5 },
  ...{ bos_token_id: 1, eos_token_id: 2, hidden_act: 'silu', rope_theta: 10000, sliding_window: 4096 },
  tie_word_embeddings: false,
};

const parse = (json: Keys) => parseModelConfig(json, 'config.json') as DecoderConfig;

test('config.json of Llama, Qwen and Mistral as their publishers write them', () => {
  const llama = parse(LLAMA_3_1);
  assert.deepEqual([llama.headDim, llama.kvHeads, llama.tiedHead, llama.bos], [128, 8, false, 'tokenizer']);
  assert.deepEqual(llama.attention[31]!.rope, {
    ...{ theta: 500000, factor: 8 },
    bands: { low: 1, high: 4, original: 8192 },
  });
  assert.deepEqual(llama.biases, { qkv: false, out: false, mlp: false });
  const qwen = parse(QWEN_2_5);
  assert.deepEqual(qwen.biases, { qkv: true, out: false, mlp: false });
  assert.ok(qwen.attention.every(({ window }) => window === null));
  assert.equal(parse({ ...QWEN_2_5, bos_token_id: null }).bosTokenId, -1);
  assert.equal(parse(QWEN_3).headDim, 128);
  assert.ok(parse(MISTRAL).attention.every(({ window }) => window === 4096));
  assert.ok(parse({ ...MISTRAL, sliding_window: null }).attention.every(({ window }) => window === null));
  const { sliding_window: _, ...bare } = MISTRAL;
  assert.equal(parse(bare).attention[0]!.window, 4096);
});

test('layers with a window are those listed, or those after the first ones', () => {
  const sliding = { ...QWEN_2_5, use_sliding_window: true, sliding_window: 8, max_window_layers: 20 };
  const windows = (json: Keys) => parse(json).attention.map(({ window }) => window);
  assert.deepEqual(windows(sliding), [...Array(20).fill(null), ...Array(4).fill(8)]);
  const listed = { ...sliding, layer_types: [...Array(23).fill('full_attention'), 'sliding_attention'] };
  assert.deepEqual(windows(listed), [...Array(23).fill(null), 8]);
});

test('settings that would change the result are refused by name', async () => {
  const scaling = (rope_type: string) => ({ rope_scaling: { rope_type, factor: 4 } });
  for (const [json, key] of [
    ...['yarn', 'dynamic', 'longrope', 'llama3'].map((type) => [{ ...LLAMA_3_1, ...scaling(type) }, 'rope_scaling']),
    [
      { ...LLAMA_3_1, rope_parameters: { rope_type: 'default', partial_rotary_factor: 0.5 }, rope_scaling: null },
      'partial_rotary',
    ],
    [{ ...LLAMA_3_1, hidden_act: 'gelu' }, 'hidden_act'],
    [{ ...LLAMA_3_1, sliding_window: 4096 }, 'sliding_window'],
    [{ ...LLAMA_3_1, num_key_value_heads: 5 }, 'num_key_value_heads'],
    [{ ...LLAMA_3_1, num_attention_heads: 24, num_key_value_heads: 8 }, 'num_attention_heads'],
    [{ ...LLAMA_3_1, head_dim: 7 }, 'head_dim'],
    [{ ...LLAMA_3_1, quantization_config: { quant_method: 'awq' } }, 'quantization_config'],
    [{ ...MISTRAL, attention_bias: true }, 'attention_bias'],
    [{ ...MISTRAL, layer_types: ['sliding_attention'] }, 'layer_types'],
    [{ ...QWEN_2_5, mlp_bias: true }, 'mlp_bias'],
    [{ ...QWEN_2_5, layer_types: Array(24).fill('sliding_attention') }, 'layer_types'],
    [{ ...QWEN_3, layer_types: ['full_attention'] }, 'layer_types'],
    [{ ...QWEN_3, num_experts: 8 }, 'num_experts'],
  ] as [Keys, string][]) {
    const { message } = await refusalOf(() => parse(json), Refusal, 'lm/unsupported-setting');
    assert.ok(message.includes(key), message);
  }
});

test('mixtures of experts and other relatives are refused by their type', async () => {
  for (const type of ['mixtral', 'qwen2_moe', 'qwen3_moe', 'qwen3_next', 'llama4_text', 'gpt_oss', 'gemma3n_text']) {
    const { message } = await refusalOf(() => parse({ ...QWEN_3, model_type: type }), Refusal, 'lm/unsupported-model');
    assert.ok(message.includes(type), message);
  }
});

const GEMMA_4: Keys = {
  ...{ model_type: 'gemma4_text', hidden_size: 64, num_hidden_layers: 12, intermediate_size: 96, vocab_size: 256 },
  ...{ num_attention_heads: 8, num_key_value_heads: 4, head_dim: 16, global_head_dim: 32, sliding_window: 32 },
  ...{ num_global_key_value_heads: 2, attention_k_eq_v: true, hidden_size_per_layer_input: 0 },
};

test('Gemma 4: layers share keys where config.json says so, and have the hooks that they compute', async () => {
  const sites = (json: Keys, layer: number) =>
    parse(json)
      .hooks.filter(({ name }) => name.startsWith(`blocks.${layer}.attn.`))
      .map(({ site, width }) => [site.slice('attn.hook_'.length), width]);
  // Layers 5 and 11 see everything: wider heads, fewer keys, which are the values, too.
  assert.deepEqual(sites(GEMMA_4, 4), [
    ['q', 128],
    ['k', 64],
    ['v', 64],
    ['z', 128],
  ]);
  assert.deepEqual(sites(GEMMA_4, 5), [
    ['q', 256],
    ['k', 64],
    ['z', 256],
  ]);
  const shared = { ...GEMMA_4, num_kv_shared_layers: 4, use_double_wide_mlp: true };
  assert.deepEqual(sites(shared, 9), [
    ['q', 128],
    ['z', 128],
  ]);
  const width = (layer: number) =>
    parse(shared).hooks.find(({ name }) => name === `blocks.${layer}.mlp.hook_post`)!.width;
  assert.deepEqual([width(7), width(8)], [96, 192]);
  // Either spelling of the same sizes.
  const per = { head_dim: 32, num_key_value_heads: 2 };
  const { global_head_dim: _, num_global_key_value_heads: __, ...rest } = GEMMA_4;
  assert.equal(parse({ ...rest, per_layer_config: { 5: per, 11: per } }).shape, parse(GEMMA_4).shape);
  const wrapped = { model_type: 'gemma4', text_config: GEMMA_4, vision_config: {} };
  assert.equal(parse(wrapped).shape, parse(GEMMA_4).shape);
});

test('settings of Gemma 4 that would change the result are refused by name', async () => {
  for (const [change, key] of [
    [{ enable_moe_block: true, num_experts: 8 }, 'enable_moe_block'],
    [{ use_bidirectional_attention: 'all' }, 'use_bidirectional_attention'],
    [{ hidden_activation: 'silu' }, 'hidden_activation'],
    [{ num_kv_shared_layers: 12 }, 'num_kv_shared_layers'],
    [{ layer_types: ['full_attention'] }, 'layer_types'],
    [{ hidden_size_per_layer_input: 8, vocab_size_per_layer_input: 128 }, 'vocab_size_per_layer_input'],
    [{ per_layer_config: { 4: { head_dim: 8 } } }, 'per_layer_config'],
    [{ per_layer_config: { 5: { head_dim: 8 }, 11: { head_dim: 4 } } }, 'per_layer_config'],
    [{ rope_parameters: { full_attention: { rope_type: 'yarn', factor: 2 } } }, 'rope_parameters'],
    [{ quantization_config: { quant_method: 'gptq' } }, 'quantization_config'],
  ] as [Keys, string][]) {
    const { message } = await refusalOf(() => parse({ ...GEMMA_4, ...change }), Refusal, 'lm/unsupported-setting');
    assert.ok(message.includes(key), message);
  }
});

const PYTHIA: Keys = {
  ...{ model_type: 'gpt_neox', hidden_size: 2560, intermediate_size: 10240, num_hidden_layers: 32, vocab_size: 50304 },
  ...{ num_attention_heads: 32, max_position_embeddings: 2048, layer_norm_eps: 1e-5, rotary_pct: 0.25 },
  ...{ rotary_emb_base: 10000, hidden_act: 'gelu', use_parallel_residual: true, bos_token_id: 0, eos_token_id: 0 },
};
const GPT_2: Keys = {
  ...{ model_type: 'gpt2', n_embd: 768, n_layer: 12, n_head: 12, n_ctx: 1024, n_positions: 1024, vocab_size: 50257 },
  ...{ activation_function: 'gelu_new', layer_norm_epsilon: 1e-5, bos_token_id: 50256, eos_token_id: 50256 },
};

test('Pythia and GPT-2 have the hooks that their blocks compute, and no others', () => {
  const sites = (json: Keys) => new Set(parse(json).hooks.map(({ site }) => site));
  for (const json of [PYTHIA, GPT_2]) assert.ok(!sites(json).has('mlp.hook_pre_linear'));
  // Its attention and MLP both read the residual stream before the block.
  assert.ok(!sites(PYTHIA).has('hook_resid_mid'));
  assert.ok(sites({ ...PYTHIA, use_parallel_residual: false }).has('hook_resid_mid'));
  assert.ok(sites(GPT_2).has('hook_resid_mid'));
  for (const json of [PYTHIA, GPT_2]) assert.equal(parse(json).bos, 'tokenizer');
});

test('settings of GPT-NeoX and GPT-2 that would change the result are refused by name', async () => {
  for (const [json, key] of [
    [{ ...PYTHIA, hidden_act: 'relu' }, 'hidden_act'],
    [{ ...PYTHIA, rotary_pct: 0.0125 }, 'partial_rotary_factor'],
    [{ ...PYTHIA, rope_scaling: { type: 'dynamic', factor: 2 } }, 'rope_scaling'],
    [{ ...PYTHIA, num_attention_heads: 33 }, 'num_attention_heads'],
    [{ ...PYTHIA, quantization_config: { quant_method: 'gptq' } }, 'quantization_config'],
    [{ ...GPT_2, activation_function: 'relu' }, 'activation_function'],
    [{ ...GPT_2, add_cross_attention: true }, 'add_cross_attention'],
    [{ ...GPT_2, n_head: 7 }, 'n_head'],
  ] as [Keys, string][]) {
    const { message } = await refusalOf(() => parse(json), Refusal, 'lm/unsupported-setting');
    assert.ok(message.includes(key), message);
  }
});
