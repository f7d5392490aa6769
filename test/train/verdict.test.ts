import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { before, test } from 'node:test';
import { Refusal } from '../../src/errors/refusal.js';
import { silent } from '../../src/progress/progress.js';
import { faultsOf, type LastFigures } from '../../src/train/verdict.js';
import { run } from '../cli/run-program.js';
import { temporaryDirectory } from '../temporary.js';
import { tinyActivations } from './tiny-activations.js';

const HOOK = 'blocks.1.hook_mlp_out';
const root = temporaryDirectory();
let activations: string;

before(async () => {
  activations = await tinyActivations(root, HOOK);
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

const words = (out: string, more: Record<string, unknown>) =>
  Object.entries({
    ...{
      activations,
      out,
      'd-sae': 64,
      batch: 128,
      steps: 40,
      'dead-window': 640,
      'log-every': 5,
      lr: 0.01,
      l1: 1e5,
      threads: 1,
    },
    ...more,
  }).flatMap(([flag, value]) => [`--${flag}`, String(value)]);

test('ruined training reports its figures and warns; --strict fails, the SAE stays, also when asked again', async () => {
  const out = join(root, 'ruined');
  const plain = await run('train', ...words(out, {}), '--log', 'json');
  assert.equal(plain.code, 0, plain.stderr);
  const events = plain.stderr
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
  const result = events.find(({ event }) => event === 'result')!;
  assert.deepEqual([result.out, result.step, result.tokens], [out, 40, 5120]);
  assert.ok(Number(result.l0) < 1, String(result.l0));
  assert.equal(typeof result.dead_fraction, 'number');
  assert.equal(typeof result.explained_variance, 'number');
  const warnings = events.filter(({ event }) => event === 'warning');
  assert.ok(warnings.some(({ kind, remedy }) => kind === 'silent' && String(remedy).includes('--l1')));

  const again = await run('train', ...words(out, {}), '--resume', '--strict');
  assert.equal(again.code, 1, again.stderr);
  assert.match(again.stderr, /--strict/);
  assert.match(again.stderr, /L0 0[.,].* explained variance .*, dead features \d/);
  const strict = await run('train', ...words(join(root, 'strict'), {}), '--strict');
  assert.equal(strict.code, 1);
  assert.ok(existsSync(join(root, 'strict', 'cfg.json')));
  const fine = await run('train', ...words(join(root, 'fine'), { l1: 3, lr: 0.01 }), '--strict');
  assert.equal(fine.code, 0, fine.stderr);
  assert.match(fine.stderr, /L0 \d.*explained variance 0\.\d+, dead features/);
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
