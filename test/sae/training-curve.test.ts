import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, symlinkSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { copiedCurve, readCurve } from '../../src/sae/training-curve.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';

const line = (step: number, more: object = {}) => ({
  ...{ step, tokens: 4096 * step, loss: 2.5, mse: 1e-12, l1: 0.1, aux: 0, l0: 30 },
  ...{ explained_variance: null, dead_fraction: null, lr: 3e-4, tokens_per_second: 1e5, ...more },
});
const text = (lines: readonly object[]) => lines.map((value) => `${JSON.stringify(value)}\n`).join('');

test('a curve is copied as training writes it, to the byte, without a torn last line', async (t) => {
  const path = join(temporaryDirectory(t), 'metrics.jsonl');
  const whole = text(Array.from({ length: 3000 }, (_, i) => line(i + 1, i === 7 ? { resampled: 3 } : {})));
  writeFileSync(path, whole);
  assert.equal(await copiedCurve(path), whole);
  writeFileSync(path, `${whole}{"step": 3001, "tok`);
  assert.equal(await copiedCurve(path), whole);
  symlinkSync(path, join(path, '..', 'link'));
  assert.equal(await copiedCurve(join(path, '..', 'link')), whole);
});

test('of an SAE that is being trained further, only the curve of the saved steps is copied', async (t) => {
  const path = join(temporaryDirectory(t), 'metrics.jsonl');
  writeFileSync(path, text([line(10), line(20), line(30)]));
  assert.equal(await copiedCurve(path, 20), text([line(10), line(20)]));
});

test('nothing but the numbers of a curve is copied', async (t) => {
  const path = join(temporaryDirectory(t), 'metrics.jsonl');
  writeFileSync(path, text([line(1, { password: 'secret', nested: { a: 'secret' }, constructor: 'secret' })]));
  assert.equal(await copiedCurve(path), text([line(1)]));
  for (const bad of [
    '-----BEGIN PRIVATE KEY-----\nsecret\n',
    text([line(1), { step: 2 }]),
    text([line(1, { loss: 'secret' })]),
    text([line(1, { step: -1 })]),
    text([line(1, { mse: 1e200 })]),
    text([line(1, { note: 'x'.repeat(20_000) })]),
    '[1]\n',
    'null\n',
    'secret'.repeat(10_000),
  ]) {
    writeFileSync(path, bad);
    await refuses(() => copiedCurve(path), 'sae/broken-curve', path, 'is not a valid line of a training curve');
  }
});

test('what has no end, or is not a regular file, is refused at once', async (t) => {
  const directory = temporaryDirectory(t);
  const path = join(directory, 'sparse');
  writeFileSync(path, '');
  truncateSync(path, 2e10);
  await refuses(() => copiedCurve(path), 'sae/broken-curve', path, 'line 1');
  execFileSync('mkfifo', [join(directory, 'pipe')]);
  mkdirSync(join(directory, 'folder'));
  symlinkSync('/dev/zero', join(directory, 'zero'));
  for (const name of ['pipe', 'folder', 'zero']) {
    await refuses(() => copiedCurve(join(directory, name)), 'disk/not-a-file');
  }
});

test('a copied curve can be read: an unknown value is NaN, a term that is not trained 0', async (t) => {
  const path = join(temporaryDirectory(t), 'metrics.jsonl');
  writeFileSync(path, text([line(1, { lr: 1e-200, resampled: 2, later_addition: 1 }), line(2)]));
  const curve = await readCurve(path);
  assert.deepEqual(
    curve.map(({ step, lr, resampled, dead_fraction }) => [step, lr, resampled, dead_fraction]),
    [
      [1, 0, 2, Number.NaN],
      [2, 3e-4, undefined, Number.NaN],
    ],
  );
  writeFileSync(path, await copiedCurve(path));
  assert.deepEqual(await readCurve(path), curve);
});
