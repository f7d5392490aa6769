import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { Refusal } from '../../src/errors/refusal.js';
import { silent } from '../../src/progress/progress.js';
import { faultsOf, type LastFigures } from '../../src/train/verdict.js';
import { temporaryDirectory } from '../temporary.js';
import { tinyActivations } from '../train/tiny-activations.js';

const HOOK = 'blocks.1.hook_mlp_out';
const root = temporaryDirectory();

before(async () => {
  await tinyActivations(root, HOOK);
});

const good: LastFigures = {
  ...{ step: 100, tokens: 12_800, loss: 50, l0: 30, explained_variance: 0.7, dead_fraction: 0.05 },
};
const kinds = (change: Partial<LastFigures>, size = { dIn: 192, dSae: 1000 }) =>
  faultsOf({ ...good, ...change }, size).map(({ kind }) => kind);

test('a usable SAE has no fault, and each threshold is where the docs say', () => {
  assert.deepEqual(kinds({}), []);
  assert.deepEqual([kinds({ l0: 1 }), kinds({ l0: 0.99 })], [[], ['silent']]);
  assert.deepEqual(
    [kinds({ explained_variance: 0 }), kinds({ explained_variance: -0.01 }), kinds({ explained_variance: Number.NaN })],
    [[], ['worse-than-mean'], []],
  );
  assert.deepEqual(
    [kinds({ dead_fraction: 0.9 }), kinds({ dead_fraction: 0.91 }), kinds({ dead_fraction: Number.NaN })],
    [[], ['dead'], []],
  );
  assert.deepEqual([kinds({ l0: 192 }), kinds({ l0: 193 })], [[], ['not-sparse']]);
  assert.deepEqual(kinds({ l0: 51 }, { dIn: 192, dSae: 100 }), ['not-sparse']);
  assert.deepEqual(kinds({ l0: 0, explained_variance: -1655, dead_fraction: 1 }), [
    'silent',
    'worse-than-mean',
    'dead',
  ]);
});

test('a strict sweep names the runs whose SAEs are useless, after all are written', async () => {
  const file = join(root, 'sweep.yaml');
  writeFileSync(
    file,
    `train: {steps: 40, batch: 128, d-sae: 64, lr: 0.01, dead-window: 640, log-every: 5}\nsweep: {hook: ${HOOK}, l1: [3, 1e5]}\n`,
  );
  const { sweep } = await import('../../src/sweep/sweep.js');
  const { loadConfig } = await import('../../src/config/load.js');
  const warned: unknown[] = [];
  const tell = (event: string, _line: string, { kind }: Readonly<Record<string, unknown>>) => {
    if (event === 'warning') warned.push(kind);
  };
  const config = (more: object) =>
    loadConfig('sweep', { activations: join(root, 'acts'), out: join(root, 's'), ...more }, file);
  const never = { signal: undefined };
  await sweep(config({}), file, { ...silent, tell }, never);
  assert.ok(warned.includes('silent'));
  await assert.rejects(sweep(config({ strict: true }), file, silent, never), (error: unknown) => {
    assert.ok(error instanceof Refusal && error.exitCode === 1, String(error));
    assert.match(error.message, /^1 of 2 SAEs .*l1-100000_seed-0: L0/);
    assert.doesNotMatch(error.message, /l1-3_/);
    return true;
  });
});
