import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Interrupted, Refusal, UsageRefusal } from '../../src/errors/refusal.js';

test('a refusal exits 1 and carries message, remedy and cause', () => {
  const cause = new Error('disk');
  const refusal = new Refusal('It is full.', 'Empty it.', 'disk/full', { cause });
  assert.ok(refusal instanceof Error);
  assert.equal(refusal.exitCode, 1);
  assert.equal(refusal.message, 'It is full.');
  assert.equal(refusal.remedy, 'Empty it.');
  assert.equal(refusal.code, 'disk/full');
  assert.equal(refusal.cause, cause);
});

test('a refusal without a cause has no cause property, so that printing it shows none', () => {
  assert.equal('cause' in new Refusal('It is full.', undefined, 'disk/full'), false);
});

test('a mistake in the command is a refusal that exits 2', () => {
  const refusal = new UsageRefusal('--tokns is not known.', 'Did you mean --tokens?', 'config/unknown-flag');
  assert.ok(refusal instanceof Refusal);
  assert.equal(refusal.exitCode, 2);
  assert.equal(refusal.remedy, 'Did you mean --tokens?');
});

test('an interruption is no refusal and keeps the signal', () => {
  const stopped = new Interrupted('SIGTERM', 'Half is done.');
  assert.equal(stopped instanceof Refusal, false);
  assert.equal(stopped.signal, 'SIGTERM');
  assert.equal(stopped.message, 'Half is done.');
});
