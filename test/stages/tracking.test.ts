import assert from 'node:assert/strict';
import { existsSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { loadConfig } from '../../src/config/load.js';
import { evalSchema } from '../../src/config/stages/eval.js';
import { type TrainConfig, trainSchema } from '../../src/config/stages/train.js';
import { evaluateOnce } from '../../src/eval/evaluate.js';
import { logDirectories } from '../../src/eval/log-evaluation.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { sweep } from '../../src/sweep/sweep.js';
import { isEventFile } from '../../src/tensorboard/event-log.js';
import { trainConfig } from '../../src/train/resumed-config.js';
import { train } from '../../src/train/train.js';
import { refuses, refusesUsage } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { pointSteps } from '../tensorboard/point-steps.js';
import { curveOf, tinyActivations } from '../train/tiny-activations.js';

const root = temporaryDirectory();
const never: StopRequest = { signal: undefined };
let activations: string;

before(async () => {
  activations = await tinyActivations(root);
});

const configured = (out: string, more: Partial<TrainConfig> = {}): TrainConfig =>
  trainSchema.parse({
    ...{ activations, dSae: 300, steps: 40, batch: 128, lr: 1e-3, logEvery: 7, deadWindow: 1000, threads: 1 },
    ...{ out: join(root, out), logDir: join(root, `${out}-tb`), ...more },
  });

/** Trains until after step 37, and then as a kill would end it: no farewell. */
async function crashed(config: TrainConfig): Promise<void> {
  const update = (done: number) => {
    if (done > 37 * 128) throw new Error('crash');
  };
  await assert.rejects(train(config, { ...silent, update }, never), /crash/);
}

test('a run that was killed and resumed has each line of its curve once, and densities at its checkpoints', async () => {
  const config = configured('killed', { checkpointEvery: '10' });
  await crashed(config);
  // --log-dir is remembered.
  await train(await trainConfig({ resume: true, out: config.out }), silent, never);
  const steps = curveOf(config.out).map(({ step }) => step);
  assert.deepEqual(await pointSteps(config.logDir!, 'train', 'train/loss'), steps);
  assert.deepEqual(await pointSteps(config.logDir!, 'train', 'features/log10_density'), [10, 20, 30, 40]);
  assert.deepEqual(await pointSteps(config.logDir!, 'train', 'configuration'), [0]);
  assert.ok(readdirSync(config.logDir!).every(isEventFile), 'a lock or a temporary file stayed');
});

test('--log-dir that a run is given only when it is resumed gets the lines before', async () => {
  const config = configured('late', { checkpointEvery: '10', logDir: undefined });
  await crashed(config);
  await train({ ...config, resume: true, logDir: config.out }, silent, never);
  const steps = curveOf(config.out).map(({ step }) => step);
  assert.deepEqual(await pointSteps(config.out, 'train', 'train/loss'), steps);
});

test('--overwrite replaces the points of the same --out, and no others', async () => {
  const config = configured('again', { steps: 7 });
  await train(config, silent, never);
  await refuses(
    () => train({ ...config, out: join(root, 'other'), overwrite: true }, silent, never),
    'tensorboard/log-dir-taken',
    config.logDir!,
  );
  await train({ ...config, steps: 14, overwrite: true }, silent, never);
  assert.deepEqual(await pointSteps(config.logDir!, 'train', 'train/loss'), [7, 14]);
});

test('an evaluation is one point per SAE, at its last step, and is replaced by the next', async () => {
  const saes = [];
  for (const seed of [1, 2]) saes.push(await train(configured(`sae-${seed}`, { seed, steps: 7 }), silent, never));
  const logDir = join(root, 'eval-tb');
  const config = evalSchema.parse({
    ...{ sae: saes, model: 'assets/tiny-gemma', corpus: 'assets/corpus/validation.jsonl.gz', tokens: 500 },
    ...{ context: 128, out: join(root, 'eval'), logDir, overwrite: true },
  });
  await evaluateOnce(config, silent, never);
  await evaluateOnce(config, silent, never);
  for (const name of ['sae-1', 'sae-2']) {
    assert.deepEqual(await pointSteps(join(logDir, name), 'eval', 'eval/loss_recovered'), [7]);
    assert.deepEqual(await pointSteps(join(logDir, name), 'eval', 'eval/log10_density'), [7]);
  }
});

test('SAEs are distinguished by their paths from where these differ', () => {
  assert.deepEqual(logDirectories('tb', ['a/b/c']), ['tb']);
  assert.deepEqual(logDirectories('tb', ['a/b/x', 'a/c/x']), ['tb/b/x', 'tb/c/x']);
  assert.deepEqual(logDirectories('tb', ['a', 'a/b']), ['tb/a', 'tb/a/b']);
});

test('a sweep has a directory for each SAE, with its curve and its evaluation; log-dir of a run is refused', async () => {
  const file = join(root, 'sweep.yaml');
  const flags = 'steps: 10, batch: 128, d-sae: 100, lr: 0.001, log-every: 5';
  const rest = `sweep: {activations: ${join(root, 'acts')}, hook: blocks.1.hook_mlp_out, seed: [1, 2]}
eval: {model: assets/tiny-gemma, corpus: assets/corpus/validation.jsonl.gz, tokens: 250, context: 128}
`;
  writeFileSync(file, `train: {${flags}}\n${rest}`);
  const [out, logDir] = [join(root, 'swept'), join(root, 'swept-tb')];
  await sweep(loadConfig('sweep', { out, 'log-dir': logDir }, file), file, silent, never);
  for (const seed of [1, 2]) {
    const own = join(logDir, 'blocks.1.hook_mlp_out', `gated_d-sae-100_l1-4_seed-${seed}`);
    assert.ok(existsSync(own), readdirSync(join(logDir, 'blocks.1.hook_mlp_out')).join());
    assert.deepEqual(await pointSteps(own, 'train', 'train/loss'), [5, 10]);
    assert.deepEqual(await pointSteps(own, 'eval', 'eval/mse'), [10]);
  }
  writeFileSync(file, `train: {${flags}, log-dir: ${logDir}}\n${rest}`);
  const again = () => sweep(loadConfig('sweep', { out: join(root, 'other') }, file), file, silent, never);
  await refusesUsage(again, 'sweep/flag-of-runs', 'log-dir');
});
