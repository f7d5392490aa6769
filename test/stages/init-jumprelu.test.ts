import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { Interrupted } from '../../src/errors/refusal.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { openSae, readSae, saveSae } from '../../src/sae/saelens.js';
import { trainConfig } from '../../src/train/resumed-config.js';
import { train } from '../../src/train/train.js';
import { refuses } from '../config/refuses.js';
import { randomInputs } from '../sae/random-sae.js';
import { runForward } from '../sae/run-forward.js';
import { temporaryDirectory } from '../temporary.js';
import { tinyActivations } from '../train/tiny-activations.js';

const root = temporaryDirectory();
const never: StopRequest = { signal: undefined };
let activations = '';
let counter = 0;

before(async () => {
  activations = await tinyActivations(root, 'blocks.1.hook_mlp_out', 2000);
});

const flags = (more: Record<string, unknown> = {}): Record<string, unknown> => ({
  ...{ activations, 'd-sae': 120, steps: 30, batch: 128, lr: 3e-3, warmup: 0, threads: 1 },
  ...{ 'log-every': 5, out: join(root, String(counter++)) },
  ...more,
});
const begin = async (given: Record<string, unknown>, stop = never, progress = silent) =>
  train(await trainConfig(given), progress, stop);

/** What f and x̂ differ by at most, relative to the largest x̂. */
async function difference(a: string, b: string): Promise<number> {
  const x = randomInputs(20 * 192, 3).map((value) => 3 * value);
  const [from, to] = [
    await runForward(await readSae(await openSae(a)), x),
    await runForward(await readSae(await openSae(b)), x),
  ];
  const largest = from.xHat.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
  return to.xHat.reduce((most, value, i) => Math.max(most, Math.abs(value - from.xHat[i]!)), 0) / largest;
}

for (const [arch, more, zero] of [
  ['standard', {}, true],
  ['gated', {}, false],
  ['batchtopk', { k: 6 }, false],
  ['matryoshka', { k: 6, prefixes: [40] }, false],
] as const) {
  test(`a jumprelu run starts from what a ${arch} SAE computes, and resumes to the same bytes`, async () => {
    const init = await begin(flags({ arch, ...more }));
    const still = await begin(flags({ arch: 'jumprelu', init, steps: 1, lr: 1e-12 }));
    assert.ok((await difference(init, still)) < 1e-4);
    const { threshold } = (await readSae(await openSae(still))).parameters;
    assert.equal(
      threshold!.every((theta) => theta < 1e-9),
      zero,
    );

    const given = { arch: 'jumprelu', init, l0: 8 };
    const whole = await begin(flags(given));
    const trained = (await readSae(await openSae(whole))).parameters.threshold!;
    assert.ok(
      trained.some((theta, j) => Math.abs(theta - threshold![j]!) > 1e-3),
      'no threshold moved',
    );
    const stopped = flags(given);
    const stop: StopRequest = { signal: undefined };
    const update = (done: number) => {
      if (done >= 12 * 128) stop.signal = 'SIGINT';
    };
    await assert.rejects(begin(stopped, stop, { ...silent, update }), Interrupted);
    await begin({ resume: true, out: stopped.out });
    for (const name of ['cfg.json', 'sae_weights.safetensors']) {
      assert.deepEqual(readFileSync(join(String(stopped.out), name)), readFileSync(join(whole, name)), name);
    }
  });
}

test('thresholds of SAEs of other programs keep their meaning, with rows of any norm and inputs as they are', async () => {
  const trained = await readSae(await openSae(await begin(flags({ arch: 'gated' }))));
  const plain = await begin(flags({ arch: 'jumprelu', init: await saved(trained), steps: 1, lr: 1e-12 }));
  const sae = await readSae(await openSae(plain));
  const norm = (j: number) => 0.3 + j / 50;
  const { W_enc, W_dec, b_enc, threshold } = sae.parameters;
  const parameters = {
    ...sae.parameters,
    W_dec: W_dec!.map((value, k) => value * norm(Math.floor(k / 192))),
    W_enc: W_enc!.map((value, k) => value / norm(k % 120)),
    b_enc: b_enc!.map((value, j) => value / norm(j)),
    threshold: threshold!.map((value, j) => value / norm(j)),
  };
  const free = await saved({ ...sae, parameters });
  assert.ok((await difference(free, await begin(flags({ arch: 'jumprelu', init: free, steps: 1, lr: 1e-12 })))) < 1e-4);
  const uncentred = await saved({ ...sae, forward: { ...sae.forward!, apply_b_dec_to_input: false } });
  const from = await begin(flags({ arch: 'jumprelu', init: uncentred, steps: 1, lr: 1e-12 }));
  assert.ok((await difference(uncentred, from)) < 1e-4);
});

test('what cannot be written as jumprelu is refused by what it is', async () => {
  const init = await begin(flags({ arch: 'topk', k: 6, steps: 2 }));
  await refuses(() => begin(flags({ arch: 'jumprelu', init })), 'train/init-shape', 'topk');
});

async function saved(sae: Awaited<ReturnType<typeof readSae>>): Promise<string> {
  const directory = join(root, `saved-${counter++}`);
  mkdirSync(directory);
  await saveSae(directory, sae, {});
  return directory;
}
