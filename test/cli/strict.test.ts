import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { temporaryDirectory } from '../temporary.js';
import { tinyActivations } from '../train/tiny-activations.js';
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
