import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { ActivationBatches } from '../../src/activations/batches.js';
import { openStore } from '../../src/activations/store.js';
import { harvestSchema } from '../../src/config/stages/harvest.js';
import { type TrainConfig, trainSchema } from '../../src/config/stages/train.js';
import { Interrupted } from '../../src/errors/refusal.js';
import { harvest } from '../../src/harvest/harvest.js';
import { type StopRequest, silent } from '../../src/progress/progress.js';
import { widen } from '../../src/safetensors/floats.js';
import { openSource, train } from '../../src/train/train.js';
import { refusesUsage } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

const onDemand = { skip: process.env.SAE_PIPE_LONG === '1' ? false : 'with SAE_PIPE_LONG=1' };

const root = temporaryDirectory();
const MODEL = {
  model: 'assets/tiny-gemma',
  corpus: ['assets/corpus/validation.jsonl.gz'],
  hook: 'blocks.1.hook_mlp_out',
};
const configured = (more: Partial<TrainConfig>) => trainSchema.parse({ dSae: 10, out: join(root, 'out'), ...more });
const open = (more: Partial<TrainConfig>) => openSource(configured(more), silent, { signal: undefined });

test('flags that name no source, or more than one, are refused with what would be right', async () => {
  const remedy = 'Give --activations DIR (a store), --activations - (standard input), or --model, --corpus and --hook';
  await refusesUsage(() => open({}), 'train/no-source', remedy);
  await refusesUsage(
    () => open({ model: 'm' }),
    'train/no-source',
    'needs --model, --corpus and --hook; only --model is given',
    remedy,
  );
  await refusesUsage(
    () => open({ corpus: ['c'], hook: 'h' }),
    'train/no-source',
    'only --corpus and --hook is given',
    remedy,
  );
  for (const [key, flag] of [
    ['model', '--model'],
    ['corpus', '--corpus'],
    ['hook', '--hook'],
    ['revision', '--revision'],
    ['modelDevice', '--model-device'],
  ] as const) {
    for (const activations of ['-', 'store'])
      await refusesUsage(
        () => open({ activations, [key]: 'x' }),
        'train/store-and-model',
        `--activations ${activations} is`,
        `${flag} applies to`,
      );
  }
});

test('a running model needs a length, and takes the rows of --tokens or of --steps', async () => {
  await refusesUsage(() => open(MODEL), 'train/no-end', '--tokens or --steps');
  for (const [more, rows] of [
    [{ tokens: 1000 }, 1000],
    [{ steps: 3, batch: 70 }, 210],
  ] as const) {
    const source = await open({ ...MODEL, context: 64, ...more });
    await source.close();
    assert.equal(source.about.rows, rows);
  }
});

test(
  'activations of a running model are scaled by the mean norm of its first rows, and a resumed run by the same',
  onDemand,
  async () => {
    const work = { ...MODEL, context: 64, tokens: 1000, batch: 100, logEvery: 1, normalize: 'mean-norm' } as const;
    const whole = configured({ ...work, out: join(root, 'whole') });
    await train(whole, silent, { signal: undefined });
    const cut = configured({ ...work, out: join(root, 'cut') });
    const stop: StopRequest = { signal: undefined };
    const update = (done: number) => {
      if (done >= 400) stop.signal = 'SIGINT';
    };
    await assert.rejects(train(cut, { ...silent, update }, stop), Interrupted);
    await train({ ...cut, resume: true }, silent, { signal: undefined });
    const read = (name: string) => readFileSync(join(root, name, 'cfg.json'), 'utf8');
    assert.equal(read('cut'), read('whole'));

    // The rows of a store of the same text, which are these.
    const store = { ...MODEL, hook: [MODEL.hook], context: 64, tokens: 1000, out: join(root, 'acts') };
    const [directory] = await harvest(harvestSchema.parse(store), silent, { signal: undefined });
    const opened = await openStore(directory!);
    const rows = widen((await new ActivationBatches(opened, 'stored', 0).next(1000)).x, opened.manifest.dtype);
    let norms = 0;
    for (let row = 0; row < 1000; row++) norms += Math.hypot(...rows.subarray(row * 192, (row + 1) * 192));
    const { activation_scale } = JSON.parse(read('whole')).metadata.sae_pipe as { activation_scale: number };
    assert.ok(Math.abs((activation_scale * norms) / 1000 / Math.sqrt(192) - 1) < 1e-6);
  },
);
