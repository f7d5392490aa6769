import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { silent } from '../../../src/progress/progress.js';
import { convertSae } from '../../../src/sae/published/convert-to.js';
import type { WrittenLayout } from '../../../src/sae/published/written-layouts.js';
import type { ArchitectureName, ForwardSettings } from '../../../src/sae/sae.js';
import { openSae, saveSae } from '../../../src/sae/saelens.js';
import { refuses } from '../../config/refuses.js';
import { relativeDifference } from '../../golden.js';
import { filesBelow, temporaryDirectory } from '../../temporary.js';
import { randomInputs, randomSae } from '../random-sae.js';
import { opened, useCache } from './opened.js';
import { runFiles } from './run-files.js';

const [D_IN, D_SAE, ROWS] = [6, 11, 7];
const ABOUT = { model_name: 'm', hook_name: 'blocks.1.hook_resid_post', context_size: 64 };

useCache();
const root = temporaryDirectory();
let counter = 0;
const fresh = () => join(root, String(counter++));

async function saved(architecture: ArchitectureName, more: Partial<ForwardSettings> = {}, about = ABOUT) {
  const directory = fresh();
  mkdirSync(directory);
  await saveSae(directory, randomSae(architecture, D_IN, D_SAE, 5, more), about);
  return directory;
}

const converted = (sae: string, as: WrittenLayout, out = fresh(), overwrite = false) =>
  convertSae({ sae, as, out, overwrite, takeOver: false, offline: true }, silent, { signal: undefined });

const HELD: readonly (readonly [ArchitectureName, readonly WrittenLayout[], Partial<ForwardSettings>?])[] = [
  ['gated', ['saelens', 'gemma-scope', 'dictionary-learning']],
  ['standard', ['saelens', 'gemma-scope', 'dictionary-learning']],
  ['standard', ['dictionary-learning'], { apply_b_dec_to_input: false }],
  ['jumprelu', ['saelens', 'gemma-scope', 'dictionary-learning']],
  ['batchtopk', ['saelens', 'gemma-scope', 'dictionary-learning']],
  ['topk', ['saelens', 'dictionary-learning', 'sparsify']],
  ['topk', ['dictionary-learning', 'sparsify'], { rescale_acts_by_decoder_norm: true, apply_b_dec_to_input: false }],
];

for (const [architecture, layouts, more] of HELD) {
  for (const as of layouts) {
    test(`a ${architecture} SAE ${JSON.stringify(more ?? {})} as ${as} computes the same`, async () => {
      const from = await saved(architecture, more);
      const x = randomInputs(ROWS * D_IN, 12);
      const before = await runFiles(await openSae(from), x);
      const out = await converted(from, as);
      const after = await runFiles(await openSae(await opened(out)), x);
      assert.ok(relativeDifference(after.f, before.f) < 3e-6, `f: ${relativeDifference(after.f, before.f)}`);
      assert.ok(relativeDifference(after.xHat, before.xHat) < 3e-6, `${relativeDifference(after.xHat, before.xHat)}`);
      // Repeated, the same command succeeds and changes nothing; another SAE is not written over this one.
      const files = filesBelow(out);
      await converted(from, as, out);
      assert.deepEqual(filesBelow(out), files);
      const other = await saved(architecture, more);
      await saveSae(other, randomSae(architecture, D_IN, D_SAE, 6, more), ABOUT);
      await refuses(() => converted(other, as, out), 'disk/out-exists');
      await converted(other, as, out, true);
      assert.notDeepEqual(filesBelow(out), files);
    });
  }
}

test('hook, model and context of a dictionary_learning SAE come back', async () => {
  const { metadata } = await openSae(await opened(await converted(await saved('gated'), 'dictionary-learning')));
  assert.deepEqual(
    [metadata.hook_name, metadata.model_name, metadata.context_size],
    [ABOUT.hook_name, ABOUT.model_name, ABOUT.context_size],
  );
});

test('equal SAEs make equal bytes', async () => {
  const from = await saved('jumprelu');
  const [a, b] = [await converted(from, 'gemma-scope'), await converted(from, 'gemma-scope')];
  assert.deepEqual(readFileSync(join(a, 'params.npz')), readFileSync(join(b, 'params.npz')));
});

test('a published SAE is converted to another layout', async () => {
  const sae = 'test/golden/published/dictionary_learning/GatedAutoEncoder';
  const x = randomInputs(ROWS * D_IN, 12);
  const out = await converted(sae, 'saelens');
  assert.deepEqual(readdirSync(out).sort(), ['cfg.json', 'sae_weights.safetensors']);
  assert.deepEqual(await runFiles(await openSae(out), x), await runFiles(await openSae(await opened(sae)), x));
});

test('what a layout cannot hold is named, and nothing is written', async () => {
  for (const [from, as, lost] of [
    [await saved('gated'), 'sparsify', 'gated'],
    [await saved('topk'), 'gemma-scope', 'topk'],
    [await saved('gated_untied'), 'saelens', 'gated_untied'],
    [await saved('jumprelu', { normalize_activations: 'layer_norm' }), 'gemma-scope', 'layer_norm'],
    [await saved('gated', {}, { ...ABOUT, hook_name: 'blocks.1.hook_mlp_out' }), 'dictionary-learning', 'hook_mlp_out'],
    ['test/golden/published/saelens/skip_transcoder', 'gemma-scope', 'skip'],
    ['test/golden/published/sparsify/layers.5.mlp', 'dictionary-learning', 'transcoder'],
    ['test/golden/published/sparsify/layers.5.mlp', 'saelens', 'topk_skip_transcoder'],
  ] as const) {
    const out = fresh();
    await refuses(() => converted(from, as, out), 'sae/not-convertible', lost);
    assert.ok(!existsSync(out));
  }
});
