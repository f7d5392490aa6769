import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { ActivationBatches } from '../../src/activations/batches.js';
import { openStore } from '../../src/activations/store.js';
import { type TrainConfig, trainSchema } from '../../src/config/stages/train.js';
import { Interrupted, UsageRefusal } from '../../src/errors/refusal.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { openSae, readSae } from '../../src/sae/saelens.js';
import { widen } from '../../src/safetensors/floats.js';
import { geometricMedian } from '../../src/train/geometric-median.js';
import { train } from '../../src/train/train.js';
import { relativeDifference } from '../golden.js';
import { filesBelow, temporaryDirectory } from '../temporary.js';
import { curveOf, tinyActivations } from '../train/tiny-activations.js';

// The protocol's parts together; each has a separate test of its maths next to this file.

const root = temporaryDirectory();
const never: StopRequest = { signal: undefined };
const D_IN = 192;
const D_SAE = 256;
let activations: string;
let counter = 0;

before(async () => {
  activations = await tinyActivations(root, 'blocks.2.hook_resid_post');
});

// A strong λ kills most features within the first steps.
const configured = (more: Partial<TrainConfig> & { ablate?: readonly string[] } = {}): TrainConfig =>
  trainSchema.parse({
    activations,
    dSae: D_SAE,
    steps: 60,
    batch: 128,
    lr: 1e-2,
    l1: 150,
    // What is measured here is resampling: from another start other features die.
    start: 'zero',
    bDecInit: 'zero',
    normalize: 'mean-norm',
    logEvery: 10,
    deadWindow: 384,
    out: join(root, String(counter++)),
    ...more,
  });

function listening() {
  const lines: string[] = [];
  return { lines, progress: { ...silent, say: (line: string) => lines.push(line) } };
}

const parametersOf = async (directory: string) => (await readSae(await openSae(directory))).parameters;

for (const arch of ['gated', 'standard'] as const) {
  test(`resampling brings dead features of a ${arch} SAE back to life, and both engines do it alike`, async () => {
    const resampling = { arch, resampleAt: [30], resampleWarmup: 10, resampleInputs: 2000 };
    const { lines, progress } = listening();
    let workers = 0;
    const count = () => workers++;
    process.on('worker', count);
    const sparse = await train(configured({ ...resampling, threads: 2 }), progress, never);
    process.off('worker', count);
    assert.equal(
      workers,
      2,
      'the threads that began are those that end: what threads leave behind, the C library keeps',
    );
    const said = /Step 30: (\d+) of (\d+) dead features resampled from 2000 inputs/.exec(lines.join('\n'));
    assert.ok(said, lines.join('\n'));
    const [resampled, dead] = [Number(said[1]), Number(said[2])];
    assert.equal(resampled, dead);
    assert.ok(dead > 20, `${dead} of ${D_SAE} features were dead`);
    const at = (step: number) => curveOf(sparse).find((line) => line.step === step)!;
    assert.equal(at(30).resampled, resampled);
    assert.ok(!('resampled' in at(40)));
    assert.ok(at(40).l0 > at(30).l0, `L0 ${at(30).l0}, then ${at(40).l0}`);
    assert.ok(Math.abs(at(40).lr - 1e-2 * (0.1 + 0.9 * ((1 - Math.cos(0.9 * Math.PI)) / 2))) < 1e-12);

    const reference = await train(configured({ ...resampling, engine: 'reference' }), silent, never);
    const [a, b] = [await parametersOf(sparse), await parametersOf(reference)];
    for (const [name, values] of Object.entries(b)) {
      const difference = relativeDifference(a[name as keyof typeof a]!, values);
      assert.ok(difference < 1e-3, `${name}: ${difference}`);
    }
  });
}

test('interrupted before, at and after resampling, a run gives the bytes of an undisturbed one', async () => {
  const resampling = { resampleAt: [20, 40], resampleWarmup: 10, l2Normalise: true, l1: 0.8 };
  const { lines, progress: told } = listening();
  const whole = filesBelow(await train(configured(resampling), told, never));
  assert.match(lines.join('\n'), /Step 20: \d+ of .*\n.*Step 40: \d+ of/s);
  const config = configured(resampling);
  for (const [attempt, steps] of [19, 20, 21, 40].entries()) {
    const stop: StopRequest = { signal: undefined };
    const update = (done: number) => {
      if (done >= steps * 128) stop.signal = 'SIGINT';
    };
    const progress = { ...silent, update };
    await assert.rejects(train({ ...config, resume: attempt > 0 }, progress, stop), Interrupted);
  }
  await train({ ...config, resume: true }, silent, never);
  for (const name of ['cfg.json', 'sae_weights.safetensors']) {
    assert.deepEqual(filesBelow(config.out).get(name), whole.get(name), name);
  }
});

test('without dead features resampling changes nothing, the learning rate included, resumed or not', async () => {
  const { lines, progress } = listening();
  // So small a λ that every feature fires within 5 · 128 activations.
  const alive = { steps: 10, l1: 1e-3, lr: 1e-4, warmup: 0, logEvery: 1, deadWindow: 640 };
  const plain = await train(configured(alive), silent, never);
  const resampling = configured({ ...alive, resampleAt: [5], resampleWarmup: 3 });
  const stop: StopRequest = { signal: undefined };
  const update = (done: number) => {
    if (done >= 6 * 128) stop.signal = 'SIGINT';
  };
  await assert.rejects(train(resampling, { ...progress, update }, stop), Interrupted);
  await train({ ...resampling, resume: true }, progress, never);
  assert.match(lines.join('\n'), /Step 5: no feature is dead/);
  assert.ok(curveOf(resampling.out).every(({ lr }) => lr === 1e-4));
  const weights = (directory: string) => filesBelow(directory).get('sae_weights.safetensors');
  assert.deepEqual(weights(resampling.out), weights(plain));
});

test('dead features are null until the run has seen the dead window, also of a resumed run', async () => {
  const config = configured({ steps: 9, logEvery: 1, deadWindow: 500 });
  const stop: StopRequest = { signal: undefined };
  const update = (done: number) => {
    if (done >= 2 * 128) stop.signal = 'SIGINT';
  };
  await assert.rejects(train(config, { ...silent, update }, stop), Interrupted);
  await train({ ...config, resume: true }, silent, never);
  const dead = curveOf(config.out).map(({ dead_fraction }) => dead_fraction);
  // 4 · 128 is the first multiple of the batch that reaches 500.
  assert.deepEqual(dead.slice(0, 3), [null, null, null]);
  assert.ok(dead.slice(3).every((share) => typeof share === 'number'));
  assert.ok(dead.at(-1)! > 0, `${dead.at(-1)}`);
});

test('--resample-at before dead features can be known is refused, naming the step, and nothing is written', async () => {
  const config = configured({ steps: 60, resampleAt: [40, 7], deadWindow: 1025 });
  await assert.rejects(train(config, silent, never), (error: unknown) => {
    assert.ok(error instanceof UsageRefusal, String(error));
    assert.match(error.message, /--resample-at 7 .* step 9 /);
    assert.match(error.remedy!, /896/);
    return true;
  });
  assert.ok(!existsSync(config.out));
  await train({ ...config, steps: 10, resampleAt: [9] }, silent, never);
});

test('resampling and frozen parameters exclude each other', async () => {
  const config = configured({ resampleAt: [5], train: ['b_mag', 'r_mag'] });
  await assert.rejects(train(config, silent, never), /would change W_enc, W_dec, b_dec, b_gate, which --train/);
  await train(configured({ steps: 10, resampleAt: [5], ablate: ['no-r-mag'] }), silent, never);
});

test('b_dec starts from the geometric median of the activations at the training scale, or their mean, or 0', async () => {
  const { bDecInit } = trainSchema.parse({ activations, dSae: 8, out: '-' });
  assert.equal(bDecInit, 'geometric-median');
  const directory = await train(configured({ steps: 1, lr: 1e-30, bDecInit }), silent, never);
  const store = await openStore(activations);
  // The median does not ask for an order.
  const rows = widen((await new ActivationBatches(store, 'stored', 0).next(4000)).x, 'float16');
  const median = geometricMedian(rows, D_IN);
  assert.ok(relativeDifference((await parametersOf(directory)).b_dec!, median) < 1e-5);
  const about = await train(configured({ steps: 1, lr: 1e-30, bDecInit: 'mean' }), silent, never);
  const mean = Float64Array.from({ length: D_IN }, (_, i) => {
    let sum = 0;
    for (let row = 0; row < 4000; row++) sum += rows[row * D_IN + i]!;
    return sum / 4000;
  });
  assert.ok(relativeDifference((await parametersOf(about)).b_dec!, mean) < 1e-4);
  const plain = await train(configured({ steps: 1, lr: 1e-30 }), silent, never);
  assert.ok((await parametersOf(plain)).b_dec!.every((b) => Math.abs(b) < 1e-20));
});

test("λ in the paper's convention trains to the same SAE as its equal in sums, and cfg.json has both", async () => {
  const paper = await train(configured({ l1Convention: 'paper', l1: 0.01 }), silent, never);
  const record = (directory: string) => {
    const cfg = JSON.parse(readFileSync(join(directory, 'cfg.json'), 'utf8')) as {
      metadata: { sae_pipe: { l1: number; lambda: number; activation_scale: number } };
    };
    return cfg.metadata.sae_pipe;
  };
  const { l1, lambda, activation_scale } = record(paper);
  assert.equal(l1, 0.01);
  assert.ok(Math.abs(lambda - 0.01 * D_IN * activation_scale) < 1e-12);
  const sums = await train(configured({ l1: lambda }), silent, never);
  assert.deepEqual(await parametersOf(sums), await parametersOf(paper));
});
