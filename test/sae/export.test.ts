import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { exportSchema } from '../../src/config/stages/saes.js';
import { convert } from '../../src/sae/convert.js';
import { exportSae } from '../../src/sae/export.js';
import type { ArchitectureName, ForwardSettings } from '../../src/sae/sae.js';
import { openSae, readSae, saveSae } from '../../src/sae/saelens.js';
import { readSafetensorsHeader } from '../../src/safetensors/file.js';
import { refuses, refusesUsage } from '../config/refuses.js';
import { relativeDifference } from '../golden.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';
import { randomInputs, randomSae } from './random-sae.js';
import { runForward } from './run-forward.js';

const root = temporaryDirectory();
const [D_IN, D_SAE, ROWS] = [16, 70, 40];
let counter = 0;

async function saved(architecture: ArchitectureName, more: Partial<ForwardSettings> = {}): Promise<string> {
  const directory = join(root, `sae-${counter++}`);
  mkdirSync(directory);
  const metadata = { model_name: 'm', hook_name: 'blocks.1.attn.hook_z', context_size: 64, sae_pipe: { l1: 4 } };
  await saveSae(directory, randomSae(architecture, D_IN, D_SAE, 8, more), metadata);
  return directory;
}

const fresh = () => join(root, `out-${counter++}`);
const exported = (sae: string, out = fresh()) => exportSae(exportSchema.parse({ sae, as: 'jumprelu', out }));

for (const [architecture, more] of [
  ['gated', {}],
  ['gated', { apply_b_dec_to_input: false, normalize_activations: 'layer_norm' }],
  ['standard', {}],
] as const) {
  test(`the JumpReLU of a ${architecture} SAE (${JSON.stringify(more)}) gives the same f and x̂`, async () => {
    const sae = await saved(architecture, more);
    const [before, after] = [await readSae(await openSae(sae)), await readSae(await openSae(await exported(sae)))];
    assert.equal(after.architecture, 'jumprelu');
    const x = randomInputs(ROWS * D_IN, 9);
    const [a, b] = [await runForward(before, x), await runForward(after, x)];
    assert.ok(a.f.filter((value) => value > 0).length > 500);
    assert.ok(relativeDifference(b.f, a.f) < 2e-6);
    assert.ok(relativeDifference(b.xHat, a.xHat) < 2e-6);
    const { threshold } = after.parameters;
    if (architecture === 'standard') assert.ok(threshold!.every((value) => value === 0));
    else {
      // Gaps of either sign were there.
      const { b_mag, b_gate, r_mag } = before.parameters;
      const gap = b_mag!.map((bias, j) => bias - Math.exp(r_mag![j]!) * b_gate![j]!);
      assert.ok(gap.filter((value) => value < -0.01).length > 10 && gap.filter((value) => value > 0.01).length > 10);
      assert.ok(threshold!.every((value, j) => Math.abs(value - Math.max(0, gap[j]!)) < 1e-6));
    }
  });
}

test('an existing identical export is left unchanged; another one, or half of one, is refused', async () => {
  const sae = await saved('gated');
  const out = await exported(sae);
  const before = filesBelow(out);
  await exported(sae, out);
  assert.deepEqual(filesBelow(out), before);
  // The same weights under another name are another export.
  for (const other of [await saved('gated'), await saved('standard')]) {
    await refuses(() => exported(other, out), 'disk/out-exists');
  }
  const [weights, cfg] = [join(out, 'sae_weights.safetensors'), join(out, 'cfg.json')];
  for (const [file, change] of [
    [weights, (bytes: Buffer) => bytes.subarray(0, -4)],
    [weights, (bytes: Buffer) => Buffer.concat([bytes.subarray(0, -4), Buffer.from([1, 2, 3, 4])])],
    [cfg, (bytes: Buffer) => bytes.toString().replace('"context_size": 64', '"context_size": 65')],
  ] as const) {
    writeFileSync(file, change(readFileSync(file)));
    await refuses(() => exported(sae, out), 'disk/out-exists');
    await exportSae(exportSchema.parse({ sae, as: 'jumprelu', out, overwrite: true }));
    assert.deepEqual(filesBelow(out), before);
  }
});

test('an export has SAELens’s keys and shapes, what was known of the SAE, and where it came from', async () => {
  const sae = await saved('gated');
  const out = await exported(sae);
  const cfg = JSON.parse(readFileSync(join(out, 'cfg.json'), 'utf8')) as Record<string, unknown>;
  const { sae_lens_version, ...metadata } = cfg.metadata as Record<string, unknown>;
  assert.match(sae_lens_version as string, /^6\./);
  assert.deepEqual(metadata, {
    model_name: 'm',
    hook_name: 'blocks.1.attn.hook_z',
    context_size: 64,
    sae_pipe: { l1: 4 },
    exported_from: { sae, architecture: 'gated' },
  });
  assert.deepEqual(
    { ...cfg, metadata: undefined },
    {
      architecture: 'jumprelu',
      d_in: D_IN,
      d_sae: D_SAE,
      dtype: 'float32',
      device: 'cpu',
      apply_b_dec_to_input: true,
      normalize_activations: 'none',
      reshape_activations: 'hook_z',
      metadata: undefined,
    },
  );
  const { tensors } = await readSafetensorsHeader(join(out, 'sae_weights.safetensors'));
  assert.deepEqual(Object.fromEntries([...tensors].map(([name, { shape }]) => [name, shape])), {
    W_enc: [D_IN, D_SAE],
    W_dec: [D_SAE, D_IN],
    b_dec: [D_IN],
    b_enc: [D_SAE],
    threshold: [D_SAE],
  });
});

test('what has no JumpReLU, and outputs in the way, are refused; nothing is written', async () => {
  for (const architecture of ['gated_untied', 'topk'] as const) {
    const out = fresh();
    await refuses(
      async () => exported(await saved(architecture), out),
      'sae/not-convertible',
      `is a ${architecture} SAE`,
    );
    assert.ok(!existsSync(out));
  }
  const sae = await saved('gated');
  await refusesUsage(() => exported(sae, `${sae}/.`), 'disk/out-is-input', '--out is the SAE itself');
  const out = await exported(sae);
  await refuses(async () => exported(await saved('gated'), out), 'disk/out-exists', '--overwrite');
  const again = { sae, as: 'jumprelu', out, overwrite: true };
  assert.equal(await exportSae(exportSchema.parse(again)), out);
  writeFileSync(join(out, 'notes.txt'), '');
  await refuses(() => exportSae(exportSchema.parse(again)), 'disk/foreign-files', 'notes.txt');
  assert.ok(existsSync(join(out, 'cfg.json')));
});

for (const [from, to] of [
  ['standard', 'gated'],
  ['standard', 'gated_untied'],
  ['gated', 'gated_untied'],
] as const) {
  test(`a ${from} SAE as a ${to} one computes the same`, async () => {
    const sae = randomSae(from, D_IN, D_SAE, 11);
    const x = randomInputs(ROWS * D_IN, 12);
    const [a, b] = [await runForward(sae, x), await runForward(convert(sae, to), x)];
    assert.ok(a.f.some((value) => value > 0));
    // The very bits, where nothing is multiplied by exp(r_mag).
    if (to === 'gated') assert.deepEqual(b, a);
    assert.ok(relativeDifference(b.f, a.f) < 2e-6 && relativeDifference(b.xHat, a.xHat) < 2e-6);
  });
}
