import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Refusal } from '../../src/config/refusal.js';
import { initialise } from '../../src/sae/initialise.js';
import { architectures, PARAMETERS } from '../../src/sae/sae.js';
import { openSae, readSae, saveSae } from '../../src/sae/saelens.js';
import { readSafetensorsHeader } from '../../src/safetensors/header.js';
import { temporaryDirectory } from '../temporary.js';

const root = temporaryDirectory();
let counter = 0;

async function saved(architecture: (typeof architectures)[number] = 'gated'): Promise<string> {
  const directory = join(root, String(counter++));
  mkdirSync(directory);
  await saveSae(directory, initialise(architecture, 6, 11, counter), {
    hook_name: 'blocks.0.hook_resid_post',
    context_size: 64,
  });
  return directory;
}

/** Rewrites cfg.json. */
function edit(directory: string, change: (cfg: Record<string, unknown>) => void): void {
  const path = join(directory, 'cfg.json');
  const cfg = JSON.parse(readFileSync(path, 'utf8')) as Record<string, unknown>;
  change(cfg);
  writeFileSync(path, JSON.stringify(cfg));
}

for (const architecture of architectures) {
  test(`a ${architecture} SAE comes back as it was saved`, async () => {
    const directory = await saved(architecture);
    const files = await openSae(directory);
    const sae = await readSae(files);
    assert.equal(files.metadata.hook_name, 'blocks.0.hook_resid_post');
    assert.deepEqual(sae, initialise(architecture, 6, 11, counter));
  });

  test(`a ${architecture} SAE has the files, keys and tensors that SAELens reads, and no others`, async () => {
    const directory = await saved(architecture);
    const cfg = JSON.parse(readFileSync(join(directory, 'cfg.json'), 'utf8')) as Record<string, unknown>;
    assert.deepEqual(Object.keys(cfg).sort(), [
      'apply_b_dec_to_input',
      'architecture',
      'd_in',
      'd_sae',
      'device',
      'dtype',
      'metadata',
      'normalize_activations',
      'reshape_activations',
    ]);
    assert.equal(cfg.normalize_activations, 'none');
    // SAELens throws the metadata of older versions away.
    assert.match((cfg.metadata as { sae_lens_version: string }).sae_lens_version, /^[6-9]\./);
    // It refuses a file with a tensor too many.
    const { tensors } = await readSafetensorsHeader(join(directory, 'sae_weights.safetensors'));
    assert.deepEqual([...tensors.keys()].sort(), [...PARAMETERS[architecture]].sort());
  });
}

test('what cannot be computed is refused by name', async () => {
  for (const [change, message] of [
    [{ architecture: 'transcoder' }, /architecture is "transcoder"/],
    [{ apply_b_dec_to_input: false }, /apply_b_dec_to_input is false/],
    [{ normalize_activations: 'layer_norm' }, /normalize_activations is "layer_norm"/],
    [{ d_sae: 12 }, /W_enc has shape \[6, 11\].*implies \[6, 12\]/],
    [{ architecture: 'standard' }, /lacks b_enc/],
    [{ d_in: 'six' }, /d_in/],
  ] as const) {
    const directory = await saved();
    edit(directory, (cfg) => Object.assign(cfg, change));
    await assert.rejects(openSae(directory), (error: unknown) => {
      assert.ok(error instanceof Refusal);
      assert.match(error.message, message);
      return true;
    });
  }
});

test('a directory without cfg.json, and a cfg.json that is no JSON, are refused', async () => {
  await assert.rejects(openSae(root), /is not an SAE directory/);
  const directory = await saved();
  writeFileSync(join(directory, 'cfg.json'), '{"architecture": ');
  await assert.rejects(openSae(directory), /cfg\.json is not JSON/);
});
