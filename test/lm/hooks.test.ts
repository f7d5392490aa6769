import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { Refusal } from '../../src/errors/refusal.js';
import { expandHooks, expandOneHook, modelHooks } from '../../src/lm/chosen-hooks.js';
import { parseModelConfig } from '../../src/lm/families/registry.js';
import { findHook } from '../../src/lm/hooks.js';
import { refusalOf, refusesUsage } from '../config/refuses.js';

const path = 'assets/tiny-gemma/config.json';
const config = parseModelConfig(JSON.parse(readFileSync(path, 'utf8')), path);
const all = config.hooks.map(({ name }) => name);
const inBlock = (layer: number) => config.hooks.filter(({ name }) => name.startsWith(`blocks.${layer}.`));
const names = async () => all;
const none = async (): Promise<string[]> => assert.fail('the model was asked');

test('names of other tools lead to the hook that they mean, and every site is named', async () => {
  for (const [theirs, ours] of Object.entries({
    // TransformerLens: short names, its bridge's names, a name without or with another layer.
    ...{ 'blocks.2.hook_resid_pots': 'blocks.2.hook_resid_post', 'blocks.02.hook_z': 'blocks.2.attn.hook_z' },
    ...{ 'blocks.2.mlp.hook_out': 'blocks.2.hook_mlp_out', 'blocks.1.attn.hook_out': 'blocks.1.hook_attn_out' },
    ...{ 'blocks.1.hook_out': 'blocks.1.hook_resid_post', 'blocks.1.hook_in': 'blocks.1.hook_resid_pre' },
    ...{ resid_post2: 'blocks.2.hook_resid_post', hook_resid_post: 'blocks.LAYER.hook_resid_post' },
    ...{ 'blocks.99.hook_resid_post': 'blocks.LAYER.hook_resid_post', 'mlp.hook_post': 'blocks.LAYER.mlp.hook_post' },
    // Hugging Face's modules.
    ...{ 'model.layers.2': 'blocks.2.hook_resid_post', 'model.layers.1.mlp': 'blocks.1.hook_mlp_out' },
    ...{ 'model.layers.1.self_attn.o_proj': 'blocks.1.hook_attn_out', 'layers.0.self_attn': 'blocks.0.hook_attn_out' },
    ...{ 'language_model.model.layers.2.mlp.gate_proj': 'blocks.2.mlp.hook_pre' },
    ...{ 'model.layers.0.self_attn.q_proj': 'blocks.0.attn.hook_q', 'model.embed_tokens': 'hook_embed' },
    // dictionary_learning.
    ...{ resid_post_layer_2: 'blocks.2.hook_resid_post', mlp_out_layer_1: 'blocks.1.hook_mlp_out' },
  })) {
    const { message, remedy } = await refusalOf(() => findHook(theirs, config), Refusal, 'lm/no-hook');
    assert.ok(message.includes(theirs));
    assert.ok(remedy!.startsWith(`Did you mean ${ours}`), `${theirs}: ${remedy}`);
    for (const { site } of config.hooks) assert.ok(remedy!.includes(site), site);
  }
});

test('a name near no hook gets no suggestion', async () => {
  for (const far of ['lm_head', 'embed_positions', 'x', '', 'blocks', 'blocks.1.ln1.hook_scale']) {
    const { remedy } = await refusalOf(() => findHook(far, config), Refusal, 'lm/no-hook');
    assert.ok(!remedy!.includes('Did you mean'), `${far}: ${remedy}`);
  }
});

test('patterns and lists stand for names, each once, in the order of the model', async () => {
  const post = all.filter((name) => name.endsWith('.hook_resid_post'));
  assert.equal(post.length, config.layers);
  assert.deepEqual(await expandHooks(['blocks.*.hook_resid_post'], names), post);
  assert.deepEqual(await expandHooks([' blocks.1.hook_resid_post , blocks.*.hook_resid_post'], names), [
    post[1],
    post[0],
    ...post.slice(2),
  ]);
  assert.deepEqual(
    await expandHooks(['blocks.0.*'], names),
    inBlock(0).map(({ name }) => name),
  );
  assert.deepEqual(await expandHooks(['*'], names), all);
  assert.deepEqual(
    await expandHooks(['*s.*.hook_z'], names),
    all.filter((name) => name.endsWith('.attn.hook_z')),
  );
  // A name that is not a pattern needs no model, and is checked when that is opened.
  assert.deepEqual(await expandHooks(['b,a', 'b'], none), ['b', 'a']);
  assert.equal(await expandOneHook('blocks.1.hook_resid_p*t', names), 'blocks.1.hook_resid_post');
});

test('a pattern without a match, one hook too many, and empty names are refused', async () => {
  await refusesUsage(() => expandHooks(['blocks.*.hook_resid_pots'], names), 'lm/no-hook', 'blocks.*.hook_resid_post?');
  await refusesUsage(() => expandHooks(['layers.*.q'], names), 'lm/no-hook', 'No hook matches layers.*.q', 'blocks.0.');
  await refusesUsage(() => expandOneHook('blocks.*.attn.hook_z', names), 'lm/several-hooks');
  await refusesUsage(() => expandHooks(['a,,b'], none), 'lm/empty-hook');
  // Any number of stars; each part may be used only once.
  await refusesUsage(() => expandHooks([`${'*o'.repeat(5000)}*x`], names), 'lm/no-hook');
  await refusesUsage(() => expandHooks(['blocks.0.hook_resid_pre*pre'], names), 'lm/no-hook');
});

test('a model’s hooks come from its config.json alone', async () => {
  const found = await modelHooks({ model: 'assets/tiny-gemma', offline: true }, { signal: undefined });
  assert.deepEqual(found, config.hooks);
});
