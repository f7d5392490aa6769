import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { openStore } from '../../src/activations/store.js';
import { trainSchema } from '../../src/config/stages/train.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { exportSae } from '../../src/sae/export.js';
import { openSae, readSae } from '../../src/sae/saelens.js';
import { widen } from '../../src/safetensors/floats.js';
import { train } from '../../src/train/train.js';
import { runForward } from '../sae/run-forward.js';
import { temporaryDirectory } from '../temporary.js';
import { tinyActivations } from '../train/tiny-activations.js';
import { assertResumes } from './resumes.js';

const root = temporaryDirectory();
const never: StopRequest = { signal: undefined };
let activations: string;
let counter = 0;

before(async () => {
  activations = await tinyActivations(root, 'blocks.1.hook_mlp_out', 2000);
});

const configured = (more: Readonly<Record<string, unknown>> = {}) =>
  trainSchema.parse({
    ...{ activations, arch: 'batchtopk', k: 5, dSae: 200, steps: 20, batch: 128, lr: 1e-3, deadWindow: 300 },
    ...{ out: join(root, String(counter++)), logEvery: 5 },
    ...more,
  });

test('a batchtopk SAE is saved as the jumprelu SAE that it is, and known again', async () => {
  const out = await train(configured(), silent, never);
  const cfg = JSON.parse(readFileSync(join(out, 'cfg.json'), 'utf8')) as Record<string, unknown>;
  const { training_architecture, sae_pipe } = cfg.metadata as Record<string, unknown>;
  assert.deepEqual([cfg.architecture, training_architecture, cfg.k], ['jumprelu', 'batchtopk', undefined]);
  const record = sae_pipe as Record<string, unknown>;
  const said = Object.fromEntries(['arch', 'k', 'k_aux', 'aux_coefficient'].map((key) => [key, record[key]]));
  assert.deepEqual(said, { arch: 'batchtopk', k: 5, k_aux: 96, aux_coefficient: 1 / 32 });
  const files = await openSae(out);
  assert.equal(files.architecture, 'batchtopk');
  const sae = await readSae(files);
  // One threshold in the coordinates of training: times the length of a feature's decoder row in raw ones.
  const threshold = sae.parameters.threshold!;
  assert.ok(threshold.every((value) => value > 0));

  const exported = await exportSae({ sae: out, as: 'jumprelu', out: `${out}-j`, overwrite: false, takeOver: false });
  const plain = await openSae(exported);
  assert.equal(plain.architecture, 'jumprelu');
  const x = Float32Array.from({ length: 192 * 8 }, (_, i) => 3 * Math.sin(i * i));
  const [a, b] = [await runForward(sae, x), await runForward(await readSae(plain), x)];
  assert.deepEqual(a, b);
  assert.ok(a.f.some((value) => value > 0) && a.f.every((value, k) => value === 0 || value > threshold[k % 200]!));
});

test('a batchtopk run is resumed to the same bytes, and another starts from it', async () => {
  const out = await train(configured(), silent, never);
  await assertResumes(configured(), out, 9);

  const tuned = await train(configured({ init: out, steps: 30, lr: 1e-5 }), silent, never);
  const [first, second] = [await readSae(await openSae(out)), await readSae(await openSae(tuned))];
  const ratio = second.parameters.threshold![0]! / first.parameters.threshold![0]!;
  assert.ok(Math.abs(ratio - 1) < 0.1, `the threshold continues from there: ${ratio}`);
});

test('after a few steps, as many features are above the threshold as a batch keeps', async () => {
  // In raw coordinates: the rows of the store are those of training.
  const out = await train(configured({ normalize: 'none', maxActivationNormMultiple: 0 }), silent, never);
  const store = await openStore(activations);
  const { activation } = await store.readShard(0);
  const { f } = await runForward(await readSae(await openSae(out)), widen(activation, store.manifest.dtype));
  const l0 = f.reduce((sum, value) => sum + Number(value > 0), 0) / (activation.length / store.manifest.d_in);
  assert.ok(l0 > 4 && l0 < 6, String(l0));
});

test('a matryoshka SAE is saved and resumed like one, under its own name', async () => {
  const more = { arch: 'matryoshka', prefixes: [30, 100], prefixWeights: [1, 1, 0.5] };
  const out = await train(configured(more), silent, never);
  const cfg = JSON.parse(readFileSync(join(out, 'cfg.json'), 'utf8')) as Record<string, unknown>;
  const { training_architecture, sae_pipe } = cfg.metadata as Record<string, unknown>;
  assert.deepEqual([cfg.architecture, training_architecture], ['jumprelu', 'matryoshka_batchtopk']);
  const { prefixes, prefix_weights } = sae_pipe as Record<string, unknown>;
  assert.deepEqual({ prefixes, prefix_weights }, { prefixes: [30, 100, 200], prefix_weights: [1, 1, 0.5] });
  assert.equal((await openSae(out)).architecture, 'matryoshka');
  await assertResumes(configured(more), out, 9);
});

test('flags that mean nothing to it are refused before anything is written', async () => {
  for (const more of [{ l1: 4 }, { l1Warmup: 3 }, { resampleAt: [10] }, { ablate: ['l1-on-f'] }, { prefixes: [5] }]) {
    const config = configured(more);
    await assert.rejects(train(config, silent, never), { code: 'train/foreign-flag' }, JSON.stringify(more));
    assert.ok(!existsSync(config.out));
  }
  for (const more of [{ k: undefined }, { k: 201 }]) {
    await assert.rejects(train(configured(more), silent, never), { code: 'train/architecture-flags' });
  }
  await assert.rejects(train(configured({ train: ['threshold'] }), silent, never), { code: 'train/unknown-parameter' });
});
