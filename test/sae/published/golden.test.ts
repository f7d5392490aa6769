import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openSae, type SaeMetadata } from '../../../src/sae/saelens.js';
import { readAllFloats } from '../../../src/safetensors/floats.js';
import { relativeDifference } from '../../golden.js';
import { opened, useCache } from './opened.js';
import { runFiles } from './run-files.js';

const ROOT = 'test/golden/published';
const EXPECTED = '.expected.safetensors';

useCache();

/** What is known of each of them beyond its weights; hooks that are not certain are left to --hook. */
const ABOUT: Readonly<Record<string, Partial<SaeMetadata> & { readonly architecture: string }>> = {
  'saelens/standard': { architecture: 'standard' },
  'saelens/gated': { architecture: 'gated' },
  'saelens/jumprelu': { architecture: 'jumprelu' },
  'saelens/topk': { architecture: 'topk' },
  'saelens/transcoder': { architecture: 'standard', hook_name_out: 'blocks.1.hook_mlp_out' },
  'saelens/skip_transcoder': { architecture: 'standard' },
  'saelens/jumprelu_transcoder': { architecture: 'jumprelu' },
  'saelens/version-5-topk': { architecture: 'topk', hook_name: 'blocks.1.hook_resid_pre', prepend_bos: false },
  'google/gemma-scope-2b-pt-res/layer_1/width_16k/average_l0_4': {
    architecture: 'jumprelu',
    model_name: 'google/gemma-2-2b',
    hook_name: 'blocks.1.hook_resid_post',
    context_size: 1024,
    prepend_bos: true,
  },
  'google/gemma-scope-2b-pt-att/layer_2/width_16k/average_l0_4': {
    architecture: 'jumprelu',
    hook_name: 'blocks.2.attn.hook_z',
  },
  'google/gemma-scope-2b-pt-transcoders/layer_3/width_16k/average_l0_4': {
    architecture: 'jumprelu',
    hook_name: 'blocks.3.ln2.hook_normalized',
    hook_name_out: 'blocks.3.hook_mlp_out',
  },
  'google/gemma-scope-2-270m-pt/resid_post/layer_1_width_16k_l0_small': {
    architecture: 'jumprelu',
    model_name: 'google/gemma-3-270m',
    hook_name: 'blocks.1.hook_resid_post',
  },
  'google/gemma-scope-2-270m-pt/attn_out_all/layer_1_width_16k_l0_small': {
    architecture: 'jumprelu',
    model_name: 'google/gemma-3-270m',
    hook_name: 'blocks.1.attn.hook_z',
  },
  'google/gemma-scope-2-270m-pt/transcoder/layer_2_width_16k_l0_small': {
    architecture: 'jumprelu',
    hook_name: 'blocks.2.mlp.hook_in',
    hook_name_out: 'blocks.2.hook_mlp_out',
  },
  'google/gemma-scope-2-270m-pt/transcoder_all/layer_2_width_16k_l0_small_affine': { architecture: 'jumprelu' },
  'fnlp/Llama3_1-8B-Base-LXR-8x/Llama3_1-8B-Base-L3R-8x': {
    architecture: 'jumprelu',
    hook_name: 'blocks.3.hook_resid_post',
  },
  'fnlp/Llama-Scope-R1-Distill/0-Slimpajama-800M-OpenR1-Math-220k/L3R': { architecture: 'jumprelu' },
  'Qwen/SAE-Res-Qwen3-1.7B-Base-W1K-L0_3/layer5.sae.pt': {
    architecture: 'topk',
    model_name: 'Qwen/Qwen3-1.7B-Base',
    hook_name: 'blocks.5.hook_resid_post',
  },
  'dictionary_learning/AutoEncoder': { architecture: 'standard', hook_name: 'blocks.4.hook_resid_post' },
  'dictionary_learning/AutoEncoderNew': { architecture: 'standard', model_name: 'google/gemma-2-2b' },
  'dictionary_learning/GatedAutoEncoder': { architecture: 'gated', context_size: 128 },
  'dictionary_learning/JumpReluAutoEncoder': { architecture: 'jumprelu' },
  'dictionary_learning/AutoEncoderTopK': { architecture: 'topk' },
  'dictionary_learning/BatchTopKSAE': { architecture: 'jumprelu' },
  'dictionary_learning/MatryoshkaBatchTopKSAE': { architecture: 'jumprelu' },
  'sparsify/layers.10': { architecture: 'topk', hook_name: 'blocks.10.hook_resid_post', context_size: 2048 },
  'sparsify/layers.5.mlp': {
    architecture: 'topk',
    hook_name: 'blocks.5.mlp.hook_in',
    hook_name_out: 'blocks.5.hook_mlp_out',
  },
  'sparsify/h.3': { architecture: 'topk', hook_name: 'blocks.3.hook_resid_post' },
  'circuit_tracer/layer_0': { architecture: 'standard', hook_name: 'blocks.0.ln2.hook_normalized' },
  'circuit_tracer/layer_1': { architecture: 'jumprelu', hook_name_out: 'blocks.1.hook_mlp_out' },
  'circuit_tracer/layer_2': { architecture: 'jumprelu' },
};

const found = readdirSync(ROOT, { recursive: true, encoding: 'utf8' })
  .filter((path) => path.endsWith(EXPECTED))
  .map((path) => path.slice(0, -EXPECTED.length));

test('every golden SAE is tested', () => {
  assert.deepEqual(found.sort(), Object.keys(ABOUT).sort());
});

for (const [place, { architecture, ...metadata }] of Object.entries(ABOUT)) {
  test(`${place} encodes and decodes as its own library does`, async () => {
    const expected = await readAllFloats(join(ROOT, `${place}${EXPECTED}`));
    const [x, f, xHat] = ['x', 'f', 'x_hat'].map((name) => expected.get(name)!.values) as [
      Float32Array,
      Float32Array,
      Float32Array,
    ];
    const file = place.startsWith('circuit_tracer') ? `${place}.safetensors` : place;
    const files = await openSae(await opened(join(ROOT, file)), 'transcoder');
    assert.equal(files.architecture, architecture);
    for (const [key, value] of Object.entries(metadata)) assert.equal(files.metadata[key], value, key);
    const ours = await runFiles(files, x);
    assert.ok(f.some((value) => value > 0) && f.some((value) => value === 0));
    // A feature at its threshold is off in both, or they differ by the threshold.
    assert.deepEqual(
      [...ours.f].map((value) => value > 0),
      [...f].map((value) => value > 0),
    );
    assert.ok(relativeDifference(ours.f, f) < 1e-5, `f: ${relativeDifference(ours.f, f)}`);
    assert.ok(relativeDifference(ours.xHat, xHat) < 1e-5, `x_hat: ${relativeDifference(ours.xHat, xHat)}`);
  });
}
