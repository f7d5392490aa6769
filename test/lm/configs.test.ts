import assert from 'node:assert/strict';
import { test } from 'node:test';
import { loadConfig } from '../../src/config/load.js';
import { parseModelConfig } from '../../src/lm/families/registry.js';
import type { ModelConfig } from '../../src/lm/family.js';
import { findHook } from '../../src/lm/hooks.js';
import { sparsityCoefficient } from '../../src/train/schedule.js';

/** The numbers of each model that its config.json gives. */
const SIZES: Record<string, [type: string, layers: number, hidden: number, heads: number]> = {
  'gemma-7b': ['gemma', 28, 3072, 16],
  'gemma-2b': ['gemma', 18, 2048, 8],
  'gemma-2-2b': ['gemma2', 26, 2304, 8],
  'gemma-3-270m': ['gemma3_text', 18, 640, 4],
};

function modelOf(name: string): ModelConfig {
  const [model_type, num_hidden_layers, hidden_size, num_attention_heads] = SIZES[name]!;
  const sizes = { num_hidden_layers, hidden_size, num_attention_heads, num_key_value_heads: 1, head_dim: 256 };
  const rest = { intermediate_size: 2048, vocab_size: 256_000, max_position_embeddings: 8192, rms_norm_eps: 1e-6 };
  return parseModelConfig({ model_type, ...sizes, ...rest, bos_token_id: 2 }, 'config.json');
}

test('configs of Pythia 2.8B and GELU-1L: the paper’s protocol at sites that the models have', () => {
  const pythia = { hidden_size: 2560, num_hidden_layers: 32, num_attention_heads: 32, intermediate_size: 10240 };
  const gelu = { d_model: 512, n_layers: 1, n_heads: 8, d_head: 64, d_mlp: 2048, n_ctx: 1024, d_vocab: 48262 };
  for (const [name, json, protocol] of [
    [
      'pythia-2.8b',
      { model_type: 'gpt_neox', ...pythia, vocab_size: 50304, max_position_embeddings: 2048 },
      { width: 2560, dSae: 32768, context: 2048, steps: 400_000 },
    ],
    [
      'gelu-1l',
      { ...gelu, act_fn: 'gelu', normalization: 'LN' },
      { width: 2048, dSae: 131_072, context: 128, steps: 300_000 },
    ],
  ] as const) {
    const file = `configs/${name}.yaml`;
    const model = parseModelConfig(json, 'config.json');
    const [harvest, train] = [loadConfig('harvest', {}, file), loadConfig('train', {}, file)];
    const hooks = harvest.hook.map((hook) => findHook(hook, model));
    const { width } = hooks.find((hook) => train.activations === `${harvest.out}/${hook.name}`)!;
    assert.deepEqual({ width, dSae: train.dSae, context: harvest.context, steps: train.steps }, protocol);
    const { beta1, beta2, batch, lr, arch } = train;
    assert.deepEqual([beta1, beta2, batch, lr, arch], [0, 0.999, 4096, 3e-4, 'gated']);
    assert.deepEqual(loadConfig('eval', {}, file).sae, [train.out]);
  }
});

for (const name of Object.keys(SIZES)) {
  test(`configs/${name}.yaml: sites exist, and λ is the paper's 3e-4 at the width of the site`, () => {
    const file = `configs/${name}.yaml`;
    const model = modelOf(name);
    const harvest = loadConfig('harvest', {}, file);
    const train = loadConfig('train', {}, file);
    assert.equal(harvest.model, `google/${name}`);
    const hooks = harvest.hook.map((hook) => findHook(hook, model));
    const trained = hooks.find((hook) => train.activations === `${harvest.out}/${hook.name}`);
    assert.ok(trained, train.activations);
    assert.equal(train.normalize, 'none');
    assert.deepEqual([train.l1, train.l1Convention], [3e-4, 'paper']);
    const lambda = sparsityCoefficient(train, { width: trained.width, scale: 1, meanSquare: null }).value;
    assert.ok(Math.abs(lambda / (3e-4 * trained.width) - 1) < 1e-12, `λ ${lambda} at width ${trained.width}`);
    const { beta1, beta2, batch, lr, arch } = train;
    assert.deepEqual(
      { beta1, beta2, batch, lr, arch },
      { beta1: 0, beta2: 0.999, batch: 4096, lr: 3e-4, arch: 'gated' },
    );
    assert.deepEqual(loadConfig('eval', {}, file).sae, [train.out]);
  });
}

test('configs/gemma-3-270m-pareto.yaml: the site exists, and every run is one that train takes', () => {
  const file = 'configs/gemma-3-270m-pareto.yaml';
  const { hook } = loadConfig('harvest', { out: 'acts' }, file);
  const { runs = [] } = loadConfig('sweep', {}, file);
  assert.equal(findHook(hook[0]!, modelOf('gemma-3-270m')).width, 640);
  for (const { l1, ...flags } of runs as Record<string, unknown>[]) {
    for (const value of l1 as number[]) {
      const config = loadConfig('train', { ...flags, l1: value, activations: 'acts', out: 'out' }, file);
      assert.equal(config.normalize, 'per-dimension');
    }
  }
});
