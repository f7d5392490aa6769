import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { type TrainConfig, trainSchema } from '../../src/config/stages.js';
import { silent } from '../../src/progress/progress.js';
import { openSource } from '../../src/train/source.js';
import { train } from '../../src/train/train.js';
import { refusesUsage } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

const root = temporaryDirectory();
const MODEL = {
  model: 'assets/tiny-gemma',
  corpus: 'assets/corpus/validation.jsonl.gz',
  hook: 'blocks.1.hook_mlp_out',
};
const configured = (more: Partial<TrainConfig>) => trainSchema.parse({ dSae: 10, out: join(root, 'out'), ...more });
const open = (more: Partial<TrainConfig>) => openSource(configured(more), silent, { signal: undefined });

test('flags that name no source, or more than one, are refused with what would be right', async () => {
  const remedy = 'Give --activations DIR (a store), --activations - (standard input), or --model, --corpus and --hook';
  await refusesUsage(() => open({}), 'There is nothing to train on', remedy);
  await refusesUsage(() => open({ model: 'm' }), 'needs --model, --corpus and --hook; only --model is given', remedy);
  await refusesUsage(() => open({ corpus: 'c', hook: 'h' }), 'only --corpus and --hook is given', remedy);
  for (const [key, flag] of [
    ['model', '--model'],
    ['corpus', '--corpus'],
    ['hook', '--hook'],
    ['revision', '--revision'],
    ['modelDevice', '--model-device'],
  ] as const) {
    for (const activations of ['-', 'store'])
      await refusesUsage(() => open({ activations, [key]: 'x' }), `--activations ${activations} has`, `${flag} is for`);
  }
});

test('a model at work needs to know how long, and takes the rows of --tokens or of --steps', async () => {
  await refusesUsage(() => open(MODEL), 'has no end of its own', '--tokens or --steps');
  for (const [more, rows] of [
    [{ tokens: 1000 }, 1000],
    [{ steps: 3, batch: 70 }, 210],
  ] as const) {
    const source = await open({ ...MODEL, context: 64, ...more });
    await source.close();
    assert.equal(source.about.rows, rows);
  }
});

test('the mean norm of rows that have not passed is not to be had', async () => {
  const config = configured({ ...MODEL, context: 64, tokens: 500, batch: 100 });
  const training = () => train(config, silent, { signal: undefined });
  await refusesUsage(training, '--normalize mean-norm needs the mean norm of tiny-gemma', 'Use --normalize none');
});
