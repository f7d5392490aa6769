import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { trainSchema } from '../../src/config/stages/train.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { openSae, readSae } from '../../src/sae/saelens.js';
import { train } from '../../src/train/train.js';
import { randomInputs } from '../sae/random-sae.js';
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
    ...{ activations, arch: 'topk', k: 5, dSae: 200, steps: 20, batch: 128, lr: 1e-3, deadWindow: 300 },
    ...{ out: join(root, String(counter++)), logEvery: 5 },
    ...more,
  });

test('a topk SAE is trained, records what it is, and fires at most k features per token', async () => {
  const out = await train(configured(), silent, never);
  const files = await openSae(out);
  assert.deepEqual([files.architecture, files.forward?.k], ['topk', 5]);
  const record = files.metadata.sae_pipe as Record<string, unknown>;
  const said = Object.fromEntries(['k', 'k_aux', 'aux_coefficient', 'l1', 'lambda'].map((key) => [key, record[key]]));
  assert.deepEqual(said, { k: 5, k_aux: 96, aux_coefficient: 1 / 32, l1: null, lambda: null });
  const { f } = await runForward(await readSae(files), randomInputs(30 * 192, 3));
  for (let row = 0; row < 30; row++) {
    const fired = f.subarray(row * 200, (row + 1) * 200).filter((value) => value > 0).length;
    assert.ok(fired > 0 && fired <= 5, `${fired}`);
  }
});

test('a topk run with dead features is resumed to the same bytes', async () => {
  await assertResumes(configured(), await train(configured(), silent, never), 9);
});

test('flags that mean nothing to an architecture are refused before anything is written', async () => {
  for (const more of [
    { l1: 4 },
    { l1Warmup: 3 },
    { l2Normalise: true },
    { ablate: ['l1-on-f'] },
    { resampleAt: [10] },
    { arch: 'gated' },
    { arch: 'standard', k: undefined, auxCoefficient: 0.5 },
  ]) {
    const config = configured(more);
    await assert.rejects(train(config, silent, never), { code: 'train/foreign-flag' }, JSON.stringify(more));
    assert.ok(!existsSync(config.out));
  }
  for (const more of [{ k: undefined }, { k: 201 }]) {
    await assert.rejects(train(configured(more), silent, never), { code: 'train/architecture-flags' });
  }
});
