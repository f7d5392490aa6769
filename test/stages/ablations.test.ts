import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { type TrainConfig, trainSchema } from '../../src/config/stages/train.js';
import { Interrupted } from '../../src/errors/refusal.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { Generator } from '../../src/random/generator.js';
import { PARAMETERS } from '../../src/sae/registry.js';
import { type Sae, square } from '../../src/sae/sae.js';
import { openSae, readSae, saveSae } from '../../src/sae/saelens.js';
import { architectureSettings } from '../../src/train/run-settings.js';
import { train } from '../../src/train/train.js';
import { refuses, refusesUsage } from '../config/refuses.js';
import { randomInputs } from '../sae/random-sae.js';
import { runForward } from '../sae/run-forward.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';
import { tinyActivations } from '../train/tiny-activations.js';

const root = temporaryDirectory();
const never: StopRequest = { signal: undefined };
let activations: string;
let baseline: string;
let counter = 0;

before(async () => {
  activations = await tinyActivations(root, 'blocks.1.hook_mlp_out', 2000);
  baseline = await train(configured({ arch: 'standard', steps: 60 }), silent, never);
});

type Configured = TrainConfig & { readonly ablate?: readonly string[] };
const configured = (more: Partial<Configured> = {}): Configured =>
  trainSchema.parse({
    activations,
    dSae: 200,
    steps: 20,
    batch: 128,
    lr: 1e-3,
    l1: 0.2,
    out: join(root, String(counter++)),
    ...more,
  });

const saeOf = async (directory: string): Promise<Sae> => readSae(await openSae(directory));
const recordOf = async (directory: string) =>
  (await openSae(directory)).metadata.sae_pipe as { ablate: string[]; train: string[] };
const rescaleAndShift = (more: Partial<Configured> = {}) =>
  configured({ init: baseline, train: ['r_mag', 'b_mag'], ...more });

test('ablations come once each and in one order; two of them are an architecture and a parameter left alone', () => {
  const settings = (more: Partial<Configured>) => architectureSettings(configured(more), square(192, 200));
  assert.deepEqual(settings({}), { architecture: 'gated', options: { ablate: [] }, trained: PARAMETERS.gated });
  assert.deepEqual(settings({ ablate: ['l1-on-f', 'no-r-mag', 'no-auxiliary', 'l1-on-f'] }), {
    architecture: 'gated',
    options: { ablate: ['no-r-mag', 'no-auxiliary', 'l1-on-f'] },
    trained: ['W_enc', 'W_dec', 'b_dec', 'b_gate', 'b_mag'],
  });
  assert.deepEqual(settings({ ablate: ['untied-encoder'], train: ['W_mag', 'W_enc'] }), {
    architecture: 'gated_untied',
    options: { ablate: ['untied-encoder'] },
    trained: ['W_enc', 'W_mag'],
  });
});

test('contradictions are refused', async () => {
  for (const [config, code, ...named] of [
    [{ arch: 'standard', ablate: ['l1-on-f'] }, 'train/foreign-flag', '--arch is standard'],
    [
      { arch: 'gated', ablate: ['no-r-mag', 'untied-encoder'] },
      'train/ablations-together',
      'untied-encoder and no-r-mag',
    ],
    [
      { arch: 'gated', ablate: ['no-auxiliary', 'unfrozen-decoder'] },
      'train/ablations-together',
      'unfrozen-decoder and no-auxiliary',
    ],
    [
      { arch: 'gated', ablate: ['no-r-mag'], train: ['r_mag'] },
      'train/unknown-parameter',
      '--train r_mag',
      'b_gate, b_mag.',
    ],
    [
      { arch: 'standard', train: ['b_dec', 'b_mag'] },
      'train/unknown-parameter',
      '--train b_mag',
      'W_enc, W_dec, b_dec, b_enc',
    ],
    [
      { arch: 'gated', ablate: ['untied-encoder'], train: ['r_mag'] },
      'train/unknown-parameter',
      '--train r_mag',
      'W_mag',
    ],
  ] as const) {
    await refusesUsage(() => architectureSettings(config as never, square(192, 200)), code, ...named);
  }
  const untied = configured({ ablate: ['untied-encoder'], engine: 'sparse' });
  await refusesUsage(() => train(untied, silent, never), 'train/engine-cannot', '--engine sparse', 'untied-encoder');
  assert.ok(!existsSync(untied.out));
});

test('a gated SAE that starts from a standard one computes the same, to the bit', async () => {
  // One step of a rate that moves no float32, with activations unscaled so that nothing is rounded.
  const config = configured({ init: baseline, steps: 1, lr: 1e-30, normalize: 'none' });
  const [standard, gated] = [await saeOf(baseline), await saeOf(await train(config, silent, never))];
  assert.equal(gated.architecture, 'gated');
  const x = randomInputs(30 * 192, 3);
  const f = (await runForward(standard, x)).f;
  assert.ok(f.some((value) => value > 0));
  // Rows of W_dec are normalised again, x̂ so only nearly the same.
  assert.deepEqual((await runForward(gated, x)).f, f);
});

test('rescale and shift trains r_mag and b_mag; all else on disk is the baseline’s, bit for bit', async () => {
  // Biases of a baseline that was trained at this scale survive being scaled there and back; others are rounded.
  const other = await saeOf(baseline);
  const random = new Generator(6);
  const jogged = (values: Float32Array) => values.map((value) => value + 1e-3 * random.normal());
  const { b_enc, b_dec } = other.parameters;
  const init = join(root, String(counter++));
  mkdirSync(init);
  const parameters = { ...other.parameters, b_enc: jogged(b_enc!), b_dec: jogged(b_dec!) };
  await saveSae(init, { ...other, parameters }, {});
  const out = await train(rescaleAndShift({ init }), silent, never);
  const [before, after] = [parameters, (await saeOf(out)).parameters];
  for (const name of ['W_enc', 'W_dec', 'b_dec'] as const) assert.deepEqual(after[name], before[name], name);
  assert.deepEqual(after.b_gate, before.b_enc);
  assert.notDeepEqual(after.b_mag, before.b_enc);
  assert.ok(after.r_mag!.some((value) => value !== 0));
  const { ablate, train: trained } = await recordOf(out);
  assert.deepEqual([ablate, trained], [[], ['b_mag', 'r_mag']]);
});

test('an interrupted rescale and shift is resumed to the same bytes, and with the same parameters only', async () => {
  const whole = filesBelow(await train(rescaleAndShift(), silent, never));
  const config = rescaleAndShift();
  let asked = 0;
  const stop: StopRequest = {
    get signal() {
      return ++asked > 7 ? ('SIGINT' as const) : undefined;
    },
  };
  await assert.rejects(train(config, silent, stop), Interrupted);
  const other = { ...config, resume: true, train: ['r_mag' as const] };
  await refuses(
    () => train(other, silent, never),
    'train/other-settings',
    'train = ["b_mag","r_mag"]',
    'has ["r_mag"]',
  );
  await refuses(
    () => train({ ...config, resume: true, ablate: ['l1-on-f'] } as Configured, silent, never),
    'train/other-settings',
    'ablate = []',
  );
  await train({ ...config, resume: true }, silent, never);
  const resumed = filesBelow(config.out);
  for (const name of ['cfg.json', 'sae_weights.safetensors'])
    assert.deepEqual(resumed.get(name), whole.get(name), name);
});

test('ablations are trained, recorded and kept', async () => {
  const plain = await saeOf(await train(configured(), silent, never));
  for (const ablate of [['no-auxiliary'], ['l1-on-f'], ['unfrozen-decoder'], ['no-r-mag', 'l1-on-f']] as const) {
    const out = await train(configured({ ablate: [...ablate] }), silent, never);
    const { architecture, parameters } = await saeOf(out);
    assert.equal(architecture, 'gated');
    assert.notDeepEqual(parameters.W_enc, plain.parameters.W_enc, `${ablate}`);
    if (ablate.some((name) => name === 'no-r-mag')) assert.ok(parameters.r_mag!.every((value) => value === 0));
    assert.deepEqual((await recordOf(out)).ablate, ablate);
  }
});

test('an untied encoder has a separate name and matrix on disk, and starts from either other kind', async () => {
  const untied = ['untied-encoder' as const];
  const out = await train(configured({ ablate: untied }), silent, never);
  const cfg = JSON.parse(readFileSync(join(out, 'cfg.json'), 'utf8')) as { architecture: string };
  assert.equal(cfg.architecture, 'gated_untied');
  const sae = await saeOf(out);
  assert.notDeepEqual(sae.parameters.W_mag, sae.parameters.W_enc);
  const gated = await train(configured(), silent, never);
  for (const init of [out, gated, baseline]) {
    const from = await saeOf(init);
    const again = await saeOf(await train(configured({ ablate: untied, init, steps: 1, lr: 1e-30 }), silent, never));
    const x = randomInputs(10 * 192, 4);
    const [a, b] = [await runForward(from, x), await runForward(again, x)];
    const largest = Math.max(...a.f);
    assert.ok(largest > 0 && a.f.every((value, i) => Math.abs(value - b.f[i]!) < 1e-5 * largest), from.architecture);
  }
  await refuses(
    () => train(configured({ init: out }), silent, never),
    'train/init-shape',
    'architecture gated_untied',
    'has gated',
  );
});

test('a start that the ablation or training itself would change is refused', async () => {
  const gated = await train(configured(), silent, never);
  await refuses(
    () => train(configured({ init: gated, ablate: ['no-r-mag'] }), silent, never),
    'train/init-r-mag',
    'r_mag that is not 0',
  );
  const other = join(root, String(counter++));
  const sae = await saeOf(baseline);
  const forward = { ...sae.forward!, normalize_activations: 'layer_norm' as const };
  await saveSae(await train(configured({ out: other, steps: 1 }), silent, never), { ...sae, forward }, {});
  await refuses(() => train(configured({ init: other }), silent, never), 'sae/normalisation', 'layer_norm');
});
