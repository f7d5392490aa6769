import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseModelConfig } from '../../src/lm/families/registry.js';
import type { Family, ModelConfig, ModelType } from '../../src/lm/family.js';
import { chooseBos } from '../../src/lm/pass.js';
import { gemmaOfSizes } from './gemma-config.js';

test('a type of model without its family does not compile', () => {
  const family: Family = { parse: () => ({}) as ModelConfig };
  // @ts-expect-error the others have none
  const lacking: Record<ModelType, Family> = { gemma: family, gemma2: family };
  assert.equal(Object.keys(lacking).length, 2);
});

test('every family implements the complete interface of a model', () => {
  const sizes = { hidden_size: 8, num_hidden_layers: 3, num_attention_heads: 2, num_key_value_heads: 1, head_dim: 4 };
  const rest = { intermediate_size: 16, vocab_size: 32, max_position_embeddings: 64, rms_norm_eps: 1e-6 };
  const gpt2 = { n_embd: 8, n_layer: 3, n_head: 2 };
  const hooked = { d_model: 8, n_layers: 3, n_heads: 2, d_head: 4, d_mlp: 16, n_ctx: 64, d_vocab: 32, act_fn: 'gelu' };
  const types: Record<ModelType, true> = {
    ...{ gemma: true, gemma2: true, gemma3_text: true, llama: true, mistral: true, qwen2: true, qwen3: true },
    ...{ gpt_neox: true, gpt2: true, vaultgemma: true, gemma4_text: true, HookedTransformer: true },
  };
  const shapes = new Set<string>();
  for (const model_type of Object.keys(types)) {
    const named = {
      ...sizes,
      ...rest,
      ...gpt2,
      rotary_pct: 1,
      hidden_size_per_layer_input: 0,
      model_type,
      bos_token_id: 2,
    };
    const json = model_type === 'HookedTransformer' ? { ...hooked, normalization: 'LN' } : named;
    const config = parseModelConfig(json, 'config.json');
    const { layers, hooks, costs, names, shape } = config;
    assert.deepEqual([...new Set(hooks.map(({ layer }) => layer))], [0, 1, 2]);
    assert.ok(hooks.every(({ width }) => width > 0));
    const outside = hooks.filter(({ name }) => !name.startsWith('blocks.'));
    assert.deepEqual(
      outside.map(({ name }) => name),
      ['hook_embed', 'ln_final.hook_normalized'],
    );
    assert.equal(costs.blocks.length, layers);
    assert.ok(costs.widest > 0 && costs.alive(64) > costs.alive(2));
    const tensors = config.tensors();
    for (const name of [names.anchor, names.typical]) assert.ok(tensors.has(name), name);
    assert.equal([...tensors.keys()].filter((name) => name.startsWith(`${names.blocks}2.`)).length > 5, true);
    shapes.add(shape);
  }
  assert.equal(shapes.size, Object.keys(types).length);
});

test('contexts begin with BOS as the command says, otherwise as the family does: Gemma, always', () => {
  const gemma = gemmaOfSizes({ layers: 1, hidden: 8, heads: 1, kvHeads: 1, headDim: 8, mlp: 8 });
  assert.equal(chooseBos(undefined, gemma), 'always');
  for (const bos of ['always', 'never', 'tokenizer'] as const) {
    const chosen = [undefined, true, false].map((wanted) => chooseBos(wanted, { bos }));
    assert.deepEqual(chosen, [bos, 'always', 'never']);
  }
});
