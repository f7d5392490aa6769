import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryDirectory } from '../temporary.js';
import { tinyActivations } from '../train/tiny-activations.js';
import { logged, refused } from './refused.js';
import { run } from './run-program.js';

const root = temporaryDirectory();
const activations = await tinyActivations(root);

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

/** The output of a command with --log json. */
const eventsOf = (stderr: string) =>
  stderr
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as Record<string, unknown>);
const resultOf = (stderr: string) => eventsOf(stderr).find(({ event }) => event === 'result')!;

test('ruined training reports its figures and warns; --strict fails, the SAE stays, also when the command is repeated', async () => {
  const out = join(root, 'ruined');
  const plain = await run(...logged(['train', ...words(out, {})]));
  assert.equal(plain.code, 0, plain.stderr);
  const result = resultOf(plain.stderr);
  assert.deepEqual([result.out, result.step, result.tokens], [out, 40, 5120]);
  assert.ok(Number(result.l0) < 1, String(result.l0));
  assert.equal(typeof result.dead_fraction, 'number');
  assert.equal(typeof result.explained_variance, 'number');
  const warnings = eventsOf(plain.stderr).filter(({ event }) => event === 'warning');
  assert.ok(warnings.some(({ kind, remedy }) => kind === 'silent' && String(remedy).includes('--l1')));

  const again = await run(...logged(['train', ...words(out, {}), '--resume', '--strict']));
  refused(again, 'train/useless', '--strict');
  assert.equal(resultOf(again.stderr).l0, result.l0);
  const strict = await run(...logged(['train', ...words(join(root, 'strict'), {}), '--strict']));
  refused(strict, 'train/useless', '--strict');
  assert.ok(existsSync(join(root, 'strict', 'cfg.json')));
  const fine = await run('train', ...words(join(root, 'fine'), { l1: 3, lr: 0.01 }), '--strict');
  assert.equal(fine.code, 0, fine.stderr);
  assert.match(fine.stderr, /L0 \d.*explained variance 0\.\d+, dead features/);
});
