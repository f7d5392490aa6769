import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { Refusal } from '../../src/errors/refusal.js';
import { ARCHITECTURES, PARAMETERS } from '../../src/sae/registry.js';
import { architectures, parameterShape, square } from '../../src/sae/sae.js';
import { openSae, readSae, saveSae } from '../../src/sae/saelens.js';
import { floatTensor, readSafetensorsHeader, writeSafetensors } from '../../src/safetensors/file.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { randomSae } from './random-sae.js';

const root = temporaryDirectory();
let counter = 0;

async function saved(architecture: (typeof architectures)[number] = 'gated'): Promise<string> {
  const directory = join(root, String(counter++));
  mkdirSync(directory);
  await saveSae(directory, randomSae(architecture, 6, 11, counter), {
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
    assert.deepEqual(sae, randomSae(architecture, 6, 11, counter));
  });

  test(`a ${architecture} SAE has the files, keys and tensors that SAELens reads, and no others`, async () => {
    const directory = await saved(architecture);
    const cfg = JSON.parse(readFileSync(join(directory, 'cfg.json'), 'utf8')) as Record<string, unknown>;
    const keys = ['apply_b_dec_to_input', 'architecture', 'd_in', 'd_sae', 'device', 'dtype', 'metadata'];
    const ofTopK = architecture === 'topk' ? ['k', 'rescale_acts_by_decoder_norm'] : [];
    const wanted = [...keys, ...ofTopK, 'normalize_activations', 'reshape_activations'];
    assert.deepEqual(Object.keys(cfg).sort(), wanted.sort());
    const { savedAs } = ARCHITECTURES[architecture].saelens;
    assert.equal(cfg.architecture, savedAs?.architecture ?? architecture);
    const { training_architecture } = cfg.metadata as Record<string, unknown>;
    assert.equal(training_architecture, savedAs?.training);
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
    [{ architecture: 'transcoder' }, /d_out is missing/],
    [{ architecture: 'gated_skip_transcoder' }, /d_out is missing/],
    [{ architecture: 'other_transcoder' }, /architecture is "other_transcoder"/],
    [{ architecture: 'batchtopk' }, /architecture is "batchtopk"/],
    [{ apply_b_dec_to_input: 'no' }, /apply_b_dec_to_input/],
    [{ normalize_activations: 'expected_average_only_in' }, /normalize_activations is "expected_average_only_in"/],
    [{ normalize_activations: 'covariance_whitening' }, /normalize_activations is "covariance_whitening"/],
    [{ reshape_activations: 'heads' }, /reshape_activations is "heads"/],
    [{ architecture: 'topk' }, /k is missing; a topk SAE of 11 features needs 1 to 11/],
    [{ architecture: 'topk', k: 12 }, /k is 12/],
    [{ architecture: 'jumprelu' }, /lacks b_enc/],
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

test('how x is prepared and restored is read from cfg.json, and written back to it', async () => {
  const directory = await saved();
  const change = { apply_b_dec_to_input: false, normalize_activations: 'layer_norm', reshape_activations: 'hook_z' };
  edit(directory, (cfg) => Object.assign(cfg, change));
  const { forward } = await openSae(directory);
  assert.deepEqual(forward, { apply_b_dec_to_input: false, normalize_activations: 'layer_norm' });
  const copy = join(root, String(counter++));
  mkdirSync(copy);
  await saveSae(copy, await readSae(await openSae(directory)), {});
  assert.deepEqual((await openSae(copy)).forward, forward);
});

/** cfg.json before SAELens 6: everything at the top, under older names. */
const OLD = { d_in: 6, d_sae: 11, hook_point: 'blocks.3.hook_resid_pre', model_name: 'm', context_size: 128 };

test('cfg.json of SAELens before 6 is read as SAELens 6 reads it', async () => {
  const standard = await saved('standard');
  writeFileSync(join(standard, 'cfg.json'), JSON.stringify({ ...OLD, normalize_activations: false }));
  const files = await openSae(standard);
  assert.equal(files.architecture, 'standard');
  const { hook_name, model_name, context_size, prepend_bos } = files.metadata;
  assert.deepEqual([hook_name, model_name, context_size, prepend_bos], ['blocks.3.hook_resid_pre', 'm', 128, true]);
  const topk = await saved('topk');
  // The activation function made it a topk one.
  const old = { ...OLD, sae_lens_version: '5.3.1', architecture: 'standard', prepend_bos: false };
  const activation = { activation_fn_str: 'topk', activation_fn_kwargs: { k: 3 }, normalize_activations: null };
  writeFileSync(join(topk, 'cfg.json'), JSON.stringify({ ...old, ...activation }));
  const opened = await openSae(topk);
  assert.equal(opened.architecture, 'topk');
  assert.equal(opened.forward!.k, 3);
  assert.equal(opened.forward!.normalize_activations, 'none');
  assert.equal(opened.metadata.prepend_bos, false);
  writeFileSync(
    join(topk, 'cfg.json'),
    JSON.stringify({ ...OLD, architecture: 'topk', activation_fn_kwargs: { k: 4 } }),
  );
  assert.equal((await openSae(topk)).forward!.k, 4);
  for (const [more, message] of [
    [{ activation_fn: 'tanh-relu' }, /activation_fn is "tanh-relu"/],
    [{ normalize_activations: true }, /normalize_activations is "expected_average_only_in"/],
  ] as const) {
    writeFileSync(join(standard, 'cfg.json'), JSON.stringify({ ...OLD, ...more }));
    await assert.rejects(openSae(standard), message);
  }
});

test('a scaling factor that is not 1 is refused, as SAELens 6 does', async () => {
  const directory = await saved('standard');
  const { parameters: w } = await readSae(await openSae(directory));
  const write = (factor: number) =>
    writeSafetensors(join(directory, 'sae_weights.safetensors'), [
      ...PARAMETERS.standard.map((name) => floatTensor(name, parameterShape(name, square(6, 11)), w[name]!)),
      floatTensor('scaling_factor', [11], new Float32Array(11).fill(1).fill(factor, 4, 5)),
    ]);
  await write(1);
  assert.deepEqual((await readSae(await openSae(directory))).parameters, w);
  await write(1.5);
  await assert.rejects(openSae(directory), /scaling_factor/);
});

test('a directory without cfg.json, and a cfg.json that is not JSON, are refused', async () => {
  await assert.rejects(openSae(root), /is not an SAE directory/);
  const directory = await saved();
  writeFileSync(join(directory, 'cfg.json'), '{"architecture": ');
  await assert.rejects(openSae(directory), /cfg\.json is not JSON/);
});

test('a version or an architecture that is not a string is refused', async () => {
  for (const value of [{ toString: 1 }, [[]], 6]) {
    const directory = await saved();
    edit(directory, (cfg) => Object.assign(cfg, { sae_lens_version: value, architecture: value }));
    await assert.rejects(openSae(directory), (error: unknown) => {
      assert.ok(error instanceof Refusal, String(error));
      assert.match(error.message, /cfg\.json/);
      assert.ok(error.remedy);
      return true;
    });
  }
});

test('an SAE whose directory and files are links is read, and additional tensors of any type are skipped', async () => {
  const directory = await saved();
  const [links, linked] = [join(root, String(counter++)), join(root, String(counter++))];
  mkdirSync(links);
  for (const name of ['cfg.json', 'sae_weights.safetensors']) symlinkSync(join(directory, name), join(links, name));
  symlinkSync(links, linked);
  const { parameters } = await readSae(await openSae(directory));
  for (const path of [links, linked]) assert.deepEqual((await readSae(await openSae(path))).parameters, parameters);
  const tensors = PARAMETERS.gated.map((name) =>
    floatTensor(name, parameterShape(name, square(6, 11)), parameters[name]!),
  );
  const more = { name: 'log', dtype: 'C64' as const, shape: [1], bytes: new Uint8Array(8) };
  await writeSafetensors(join(directory, 'sae_weights.safetensors'), [...tensors, more]);
  assert.deepEqual((await readSae(await openSae(linked))).parameters, parameters);
  const needed = { name: 'r_mag', dtype: 'F8_E4M3' as const, shape: [11], bytes: new Uint8Array(11) };
  const others = tensors.filter(({ name }) => name !== 'r_mag');
  await writeSafetensors(join(directory, 'sae_weights.safetensors'), [...others, needed]);
  await refuses(() => openSae(linked), 'sae/wrong-dtype', 'r_mag', 'F8_E4M3');
});

test('a cfg.json that is another file is not quoted, and one of many keys is refused at once', async () => {
  const directory = await saved();
  const path = join(directory, 'cfg.json');
  const secret = join(root, 'secret');
  writeFileSync(secret, 'PRIVATE KEY');
  rmSync(path);
  symlinkSync(secret, path);
  const refusal = await openSae(directory).catch((error: Error) => error);
  assert.ok(refusal instanceof Refusal && !/PRIVATE/.test(refusal.message + refusal.remedy));
  rmSync(path);
  writeFileSync(path, `{${Array.from({ length: 150_000 }, (_, i) => `"${i}":1`).join()}}`);
  await refuses(() => openSae(directory), 'disk/file-too-large', path);
});
