import assert from 'node:assert/strict';
import { cpSync, mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { convertSchema } from '../../src/config/stages/saes.js';
import { type TrainConfig, trainSchema } from '../../src/config/stages/train.js';
import { Interrupted } from '../../src/errors/refusal.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { convertSae } from '../../src/sae/published/convert-to.js';
import type { Parameters, Sae } from '../../src/sae/sae.js';
import { openSae, readSae, saveSae } from '../../src/sae/saelens.js';
import { train } from '../../src/train/train.js';
import { refuses } from '../config/refuses.js';
import { useCache } from '../sae/published/opened.js';
import { randomInputs, randomSae } from '../sae/random-sae.js';
import { runForward } from '../sae/run-forward.js';
import { temporaryDirectory } from '../temporary.js';
import { curveOf, tinyActivations } from '../train/tiny-activations.js';

const HOOK = 'blocks.1.hook_mlp_out';
useCache();
const root = temporaryDirectory();
const never: StopRequest = { signal: undefined };
let counter = 0;
let activations = '';
before(async () => {
  activations = await tinyActivations(root);
});

const fresh = () => join(root, String(counter++));
const configured = (more: Partial<TrainConfig> & { ablate?: readonly string[] } = {}): TrainConfig =>
  trainSchema.parse({
    activations,
    dSae: 100,
    steps: 1,
    batch: 128,
    start: 'zero',
    bDecInit: 'zero',
    logEvery: 1,
    out: fresh(),
    ...more,
  });

async function saved(sae: Sae, metadata: Record<string, unknown> = {}): Promise<string> {
  const directory = fresh();
  mkdirSync(directory);
  await saveSae(directory, sae, metadata);
  return directory;
}

/** The same SAE as training elsewhere leaves it: rows of norms between 0.2 and 5. */
function withNorms(sae: Sae): Sae {
  const { dIn, dSae } = sae;
  const norm = (j: number) => 0.2 * 25 ** (j / (dSae - 1));
  const parameters: Parameters = { ...sae.parameters };
  parameters.W_dec = parameters.W_dec!.map((value, k) => value * norm(Math.floor(k / dIn)));
  for (const name of ['W_enc', 'W_mag', 'b_enc', 'b_gate', 'b_mag'] as const) {
    const values = parameters[name];
    if (values) parameters[name] = values.map((value, k) => value / norm(k % dSae));
  }
  return { ...sae, parameters };
}

for (const [arch, ablate] of [
  ['standard', undefined],
  ['gated', undefined],
  ['gated', ['untied-encoder']],
] as const) {
  test(`a ${ablate ? 'gated_untied' : arch} --init with rows of any norm is trained from what it computes`, async () => {
    const baseline = await train(
      configured({ arch, steps: 150, lr: 1e-3, ablate: ablate && [...ablate] }),
      silent,
      never,
    );
    const sae = withNorms(await readSae(await openSae(baseline)));
    for (const apply_b_dec_to_input of [true, false]) {
      const init = await saved({ ...sae, forward: { ...sae.forward!, apply_b_dec_to_input } });
      const said: string[] = [];
      const config = configured({ arch, ablate: ablate && [...ablate], init, steps: 4, lr: 1e-12, order: 'stored' });
      const out = await train(config, { ...silent, say: (line) => said.push(line) }, never);
      assert.ok(said.some((line) => line.includes('norm')));
      const [from, to] = [await readSae(await openSae(init)), await readSae(await openSae(out))];
      const x = randomInputs(20 * 192, 3).map((value) => 3 * value);
      const [a, b] = [(await runForward(from, x)).xHat, (await runForward(to, x)).xHat];
      const largest = a.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
      for (const [i, value] of b.entries()) assert.ok(Math.abs(value - a[i]!) < 1e-4 * largest);
      // The first line is of the weights as they were, the last of those after three updates, on other rows.
      const [first, last] = [curveOf(out)[0]!, curveOf(out).at(-1)!];
      assert.ok(Math.abs(first.explained_variance! - last.explained_variance!) < 0.05);
      assert.ok(Math.abs(first.l0 - last.l0) < 0.1 * first.l0);
    }
  });
}

test('an --init in another layout is the same start', async () => {
  const start = await train(configured({ arch: 'standard', steps: 4 }), silent, never);
  const out = fresh();
  // No hook: dictionary_learning's files say that of the residual stream alone.
  const sae = await saved(await readSae(await openSae(start)));
  await convertSae(convertSchema.parse({ sae, as: 'dictionary-learning', out }), silent, never);
  const trained = async (init: string) =>
    (await readSae(await openSae(await train(configured({ arch: 'standard', init }), silent, never)))).parameters;
  assert.deepEqual(await trained(out), await trained(sae));
});

test('an --init of another hook or model is refused without --any-hook or --any-model', async () => {
  const sae = randomSae('gated', 192, 100, 1);
  const hook = await saved(sae, { hook_name: 'blocks.0.hook_resid_pre' });
  await refuses(
    () => train(configured({ init: hook }), silent, never),
    'train/init-hook',
    hook,
    'blocks.0.hook_resid_pre',
    HOOK,
  );
  await train(configured({ init: hook, anyHook: true }), silent, never);
  const model = await saved(sae, { hook_name: HOOK, model_name: 'other', model_fingerprint: `2:${'0'.repeat(64)}` });
  await refuses(() => train(configured({ init: model }), silent, never), 'sae/other-model', model);
  await train(configured({ init: model, anyModel: true }), silent, never);
  const old = await saved(sae, { hook_name: HOOK, model_name: 'other', model_fingerprint: '0'.repeat(64) });
  await refuses(() => train(configured({ init: old }), silent, never), 'sae/other-fingerprint', old);
});

test('a jumprelu --init with thresholds below 0 is refused by name, and one at 0 is trained', async () => {
  const sae = randomSae('jumprelu', 192, 100, 1);
  const of = (threshold: Float32Array) => saved({ ...sae, parameters: { ...sae.parameters, threshold } });
  const low = new Float32Array(100);
  low[7] = -0.01;
  const init = await of(low);
  for (const trained of [undefined, ['W_dec' as const]]) {
    const config = configured({ arch: 'jumprelu', init, train: trained });
    await refuses(() => train(config, silent, never), 'train/init-negative', init, 'threshold');
  }
  await train(configured({ arch: 'jumprelu', init: await of(new Float32Array(100)) }), silent, never);
});

test('an --init that was replaced is not resumed with, before and after the run is finished', async () => {
  const first = await saved(randomSae('gated', 192, 100, 1));
  const other = await saved(randomSae('gated', 192, 100, 2));
  const init = fresh();
  cpSync(first, init, { recursive: true });
  // Its frozen biases are in the result.
  const config = configured({ init, steps: 5, train: ['W_enc', 'W_dec'] });
  const stop: StopRequest = { signal: undefined };
  const update = (done: number) => {
    if (done > 0) stop.signal = 'SIGINT';
  };
  await assert.rejects(train(config, { ...silent, update }, stop), Interrupted);
  const resumed = { ...config, resume: true };
  cpSync(other, init, { recursive: true });
  await refuses(() => train(resumed, silent, never), 'train/other-settings', 'init_sha256');
  rmSync(init, { recursive: true });
  cpSync(first, init, { recursive: true });
  await train(resumed, silent, never);
  const undisturbed = await train({ ...config, out: fresh() }, silent, never);
  const [a, b] = [await readSae(await openSae(config.out)), await readSae(await openSae(undisturbed))];
  assert.deepEqual(a.parameters, b.parameters);
  cpSync(other, init, { recursive: true });
  await refuses(() => train(resumed, silent, never), 'train/other-settings', 'init_sha256');
});
