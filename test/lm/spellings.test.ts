import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { openCheckpoint } from '../../src/lm/checkpoint.js';
import { relativeDifference } from '../golden.js';
import { temporaryDirectory } from '../temporary.js';
import { parseGemmaConfig } from './gemma-config.js';
import { type Json, openRandomModel, RANDOM_GEMMAS, writeCheckpoint } from './random-model.js';
import { hooksGraph, nextTokenLosses } from './run-model.js';

/** config.json as transformers 4 wrote it: flat rotary keys, torch_dtype, a pattern instead of a list of layers. */
function oldSpelling(config: Json): Json {
  const { dtype, layer_types: _, rope_parameters, transformers_version: __, text_config, ...rest } = config;
  const old: Json = { ...rest, torch_dtype: dtype, transformers_version: '4.50.0' };
  if (text_config) old.text_config = oldSpelling(text_config as Json);
  const rope = rope_parameters as Record<string, Json> | undefined;
  if (rope?.full_attention) {
    const { rope_theta, ...scaling } = rope.full_attention;
    old.rope_theta = rope_theta;
    old.rope_local_base_freq = rope.sliding_attention!.rope_theta;
    old.rope_scaling = scaling.rope_type === 'default' ? null : scaling;
    old.sliding_window_pattern = 6;
  } else if (rope) old.rope_theta = rope.rope_theta;
  return old;
}

for (const name of RANDOM_GEMMAS) {
  test(`${name}: both spellings of config.json give the same bytes of graph`, async (t) => {
    const model = await openRandomModel(name);
    const directory = await writeCheckpoint(temporaryDirectory(t), model);
    const fresh = hooksGraph(await openCheckpoint(directory), model.context);
    const old = oldSpelling(model.config);
    assert.notDeepEqual(old, model.config);
    assert.ok(!JSON.stringify(old).includes('rope_parameters'));
    writeFileSync(join(directory, 'config.json'), JSON.stringify(old));
    assert.ok(Buffer.from(fresh).equals(hooksGraph(await openCheckpoint(directory), model.context)));
  });
}

test('the language model is found under every prefix that Hugging Face has used', async (t) => {
  const model = await openRandomModel('gemma3-gqa');
  const root = temporaryDirectory(t);
  const expected = await model.golden.floats('nll');
  for (const prefix of ['language_model.model.', 'model.language_model.', 'model.', '']) {
    const rename = (name: string) => name.replace(/^language_model\.model\./, prefix);
    const checkpoint = await openCheckpoint(await writeCheckpoint(join(root, `p${prefix}`), model, { rename }));
    assert.ok(checkpoint.tensors.has('layers.6.mlp.up_proj.weight'));
    assert.ok(![...checkpoint.tensors.keys()].some((name) => name.includes('vision')));
    const nll = await nextTokenLosses(checkpoint, model.tokens, model.context, 94);
    assert.ok(relativeDifference(nll, expected) < 1e-4, prefix);
  }
});

test('an untied head is found under every prefix, and a missing one is reported', async (t) => {
  const model = await openRandomModel('gemma-gqa');
  const root = temporaryDirectory(t);
  const expected = await model.golden.floats('nll');
  for (const head of ['lm_head.weight', 'language_model.lm_head.weight']) {
    const rename = (name: string) => name.replace(/^lm_head\.weight$/, head);
    const checkpoint = await openCheckpoint(await writeCheckpoint(join(root, head), model, { rename }));
    assert.ok(relativeDifference(await nextTokenLosses(checkpoint, model.tokens, model.context, 94), expected) < 1e-4);
  }
  const rename = (name: string) => name.replace('lm_head', 'other');
  const headless = await writeCheckpoint(join(root, 'headless'), model, { rename });
  await assert.rejects(openCheckpoint(headless), /lacks the tensor lm_head\.weight/);
});

test('what a nested text_config leaves out is what transformers fills in', () => {
  // The file of gemma-3-4b-pt says no more about its language model.
  const text_config = {
    hidden_size: 2560,
    intermediate_size: 10240,
    model_type: 'gemma3_text',
    num_hidden_layers: 34,
    rope_scaling: { factor: 8.0, rope_type: 'linear' },
    sliding_window: 1024,
  };
  const c = parseGemmaConfig({ model_type: 'gemma3', text_config, vision_config: {} }, 'c');
  assert.deepEqual(
    [c.hidden, c.mlp, c.layers, c.heads, c.kvHeads, c.headDim, c.vocabulary, c.maxContext, c.bosTokenId, c.tiedHead],
    [2560, 10240, 34, 8, 4, 256, 262_208, 131_072, 2, true],
  );
  assert.equal(c.attentionScale, 1 / 16);
  const sliding = { window: 1024, rope: { theta: 10_000, factor: 1 } };
  const full = { window: null, rope: { theta: 1_000_000, factor: 8 } };
  assert.deepEqual(c.attention.slice(0, 7), [sliding, sliding, sliding, sliding, sliding, full, sliding]);
  assert.deepEqual(
    [...c.attention.keys()].filter((layer) => c.attention[layer]!.window === null),
    [5, 11, 17, 23, 29],
  );
});

test('caps that config.json leaves out are those of Gemma 2; null means no cap', async () => {
  const { config } = await openRandomModel('gemma2-mqa');
  const { attn_logit_softcapping: _, final_logit_softcapping: __, ...bare } = config;
  const filled = parseGemmaConfig(bare, 'c');
  assert.deepEqual([filled.attentionSoftcap, filled.logitSoftcap], [50, 30]);
  const none = parseGemmaConfig({ ...config, attn_logit_softcapping: null, final_logit_softcapping: null }, 'c');
  assert.deepEqual([none.attentionSoftcap, none.logitSoftcap], [null, null]);
});

test('bases and factors of both types of layers are read in either spelling', async () => {
  const { rope_parameters: _, ...rest } = (await openRandomModel('gemma3-mqa')).config;
  const old = { rope_theta: 2e6, rope_local_base_freq: 5000, rope_scaling: { rope_type: 'linear', factor: 3 } };
  const fresh = {
    full_attention: { rope_type: 'linear', rope_theta: 2e6, factor: 3 },
    sliding_attention: { rope_type: 'linear', rope_theta: 5000, factor: 1 },
  };
  for (const keys of [old, { rope_parameters: fresh }]) {
    const { attention } = parseGemmaConfig({ ...rest, ...keys }, 'c');
    assert.deepEqual(attention[5], { window: null, rope: { theta: 2e6, factor: 3 } });
    assert.deepEqual(attention[4], { window: 9, rope: { theta: 5000, factor: 1 } });
  }
});
