import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { PassThrough } from 'node:stream';
import { before, test } from 'node:test';
import { openStreamSource } from '../../src/activations/stream-source.js';
import { evalSchema } from '../../src/config/stages/eval.js';
import { harvestSchema } from '../../src/config/stages/harvest.js';
import { type TrainConfig, trainSchema } from '../../src/config/stages/train.js';
import { evaluate } from '../../src/eval/evaluate.js';
import { harvest } from '../../src/harvest/harvest.js';
import { harvestToStream } from '../../src/harvest/stream.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { trainConfig } from '../../src/train/resumed-config.js';
import { train } from '../../src/train/train.js';
import { Trainer } from '../../src/train/trainer.js';
import { temporaryDirectory } from '../temporary.js';
import { changedActivations } from '../train/changed-activations.js';
import { tinyActivations } from '../train/tiny-activations.js';
import { interrupted } from './resumes.js';

const root = temporaryDirectory();
const never: StopRequest = { signal: undefined };
const HOOK = 'blocks.2.hook_resid_post';
const text = { model: 'assets/tiny-gemma', corpus: ['assets/corpus/validation.jsonl.gz'], context: 64, threads: 1 };
let counter = 0;
const fresh = () => join(root, `out-${counter++}`);
/** Two of their 4000 rows are long. */
let few: string;
let activations: string;

before(async () => {
  activations = await tinyActivations(root, HOOK);
  few = changedActivations(activations, fresh(), { long: 5e-4 });
});

const configured = (more: Partial<TrainConfig> = {}): TrainConfig =>
  trainSchema.parse({
    ...{
      activations: few,
      dSae: 64,
      steps: 20,
      batch: 128,
      lr: 1e-3,
      l1: 3,
      deadWindow: 1000,
      logEvery: 10,
      threads: 1,
    },
    ...{ out: fresh(), ...more },
  });

interface Cfg {
  metadata: {
    max_activation_norm_multiple?: number;
    median_activation_norm?: number;
    sae_pipe: { left_out?: number; max_activation_norm_multiple: number };
  };
}
const cfgOf = (directory: string) => JSON.parse(readFileSync(join(directory, 'cfg.json'), 'utf8')) as Cfg;

test('a few long rows are left out by default, with a message, and a resumed run keeps the rule', async () => {
  const lines: string[] = [];
  const config = configured();
  await train(config, { ...silent, say: (line) => lines.push(line) }, never);
  assert.match(lines.join('\n'), /^2 of 4000 activations .*--max-activation-norm-multiple 0/m);
  const { metadata } = cfgOf(config.out);
  assert.equal(metadata.max_activation_norm_multiple, 10);
  assert.equal(metadata.sae_pipe.max_activation_norm_multiple, 10);
  const further = await trainConfig({ resume: true, out: config.out, steps: 24 });
  assert.equal(further.maxActivationNormMultiple, 10);
  await train(further, silent, never);
  assert.equal(cfgOf(config.out).metadata.median_activation_norm, metadata.median_activation_norm);

  for (const more of [
    { maxActivationNormMultiple: 0 },
    { init: config.out },
    { l1Convention: 'paper' },
    // One in a hundred is not an exception.
    { activations: changedActivations(activations, fresh(), { long: 1e-2 }) },
    { activations },
  ] as const) {
    const { metadata: plain } = cfgOf(await train(configured({ steps: 1, ...more }), silent, never));
    assert.equal(plain.max_activation_norm_multiple, undefined);
    assert.equal(plain.sae_pipe.max_activation_norm_multiple, 0);
  }
});

test('a run begun before that default is resumed without it', async () => {
  const config = configured({ maxActivationNormMultiple: 0 });
  await interrupted(config, 9);
  const path = join(config.out, 'run.json');
  const run = JSON.parse(readFileSync(path, 'utf8')) as { flags: Record<string, unknown> };
  // As it was written then.
  delete run.flags['max-activation-norm-multiple'];
  writeFileSync(path, JSON.stringify(run));
  const resumed = await trainConfig({ resume: true, out: config.out });
  assert.equal(resumed.maxActivationNormMultiple, 0);
  await train({ ...resumed, maxActivationNormMultiple: undefined }, silent, never);
  assert.equal(cfgOf(config.out).metadata.sae_pipe.left_out, undefined);
});

/** Trained on what comes through a pipe. */
async function ofStream(rule: Partial<TrainConfig>, tokens: number): Promise<string> {
  const pipe = new PassThrough();
  const settings = harvestSchema.parse({ ...text, hook: [HOOK], tokens, out: '-' });
  const written = harvestToStream(settings, pipe, silent, never).finally(() => pipe.end());
  const config = configured({ ...rule, activations: '-' });
  const source = await openStreamSource(pipe, { place: 'the stream', poolRows: 2 * tokens });
  const batches = source.batches(config.order, config.seed);
  const trainer = (await Trainer.open(config, { source, batches }, () => {}, never))!;
  while (trainer.steps < trainer.wanted) await trainer.step(await batches.next(config.batch));
  await trainer.finish();
  await trainer.close();
  await written;
  return config.out;
}

test('a store, a stream and a running model have one rule; SAEs whose medians are nearly the same share it', async () => {
  const rule = { maxActivationNormMultiple: 1.2, steps: 8, batch: 100 };
  const [tokens, from] = [800, { ...text, hook: HOOK, contextsPerPass: 4 }];
  const [store] = await harvest(harvestSchema.parse({ ...text, hook: [HOOK], tokens, out: fresh() }), silent, never);
  const saes = [
    await train(configured({ ...rule, activations: store! }), silent, never),
    await train(configured({ ...rule, ...from, activations: undefined }), silent, never),
    await ofStream(rule, tokens),
  ] as const;
  const [{ metadata }, ...others] = saes.map(cfgOf) as [Cfg, Cfg, Cfg];
  // One epoch of the same rows: each that is too long is left out once.
  const left = metadata.sae_pipe.left_out!;
  assert.ok(left > 10 && left < 400, String(left));
  for (const { metadata: other } of others) {
    assert.equal(other.max_activation_norm_multiple, 1.2);
    assert.equal(other.sae_pipe.left_out, left);
    assert.ok(Math.abs(other.median_activation_norm! / metadata.median_activation_norm! - 1) < 1e-3);
  }

  const measured = () =>
    evaluate(evalSchema.parse({ ...text, sae: saes.slice(0, 2), tokens: 100, out: fresh() }), silent, never);
  const withMedian = (factor: number) => {
    const cfg = cfgOf(saes[1]);
    cfg.metadata.median_activation_norm = factor * metadata.median_activation_norm!;
    writeFileSync(join(saes[1], 'cfg.json'), JSON.stringify(cfg));
  };
  withMedian(0.99);
  const records = await measured();
  for (const { settings } of records) {
    assert.equal(settings.norm_limit!.median, 0.99 * metadata.median_activation_norm!);
  }
  withMedian(1.3);
  await assert.rejects(measured(), { code: 'eval/several-norm-limits' });
});
