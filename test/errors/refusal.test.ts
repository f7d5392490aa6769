import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Interrupted, oneLine, Refusal, UsageRefusal } from '../../src/errors/refusal.js';

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

test('an interruption is not a refusal and keeps the signal', () => {
  const stopped = new Interrupted('SIGTERM', 'Half is done.');
  assert.equal(stopped instanceof Refusal, false);
  assert.equal(stopped.signal, 'SIGTERM');
  assert.equal(stopped.message, 'Half is done.');
});

test('line breaks and terminal control characters are escaped, and nothing else', () => {
  assert.equal(
    oneLine('a\nb\r\u001b[2J\u0000\u0085\u2028\ud800'),
    'a\\u000ab\\u000d\\u001b[2J\\u0000\\u0085\\u2028\\ud800',
  );
  assert.equal(oneLine('λ → 😀 "x" \\'), 'λ → 😀 "x" \\');
});

test('text that is too long is cut in the middle', () => {
  const cut = oneLine(`begin${'x'.repeat(10 ** 6)}end`);
  assert.ok(cut.length < 2100);
  assert.ok(cut.startsWith('begin') && cut.endsWith('end'));
});

test('a refusal is one line, whatever a file has put into it', () => {
  const { message, remedy } = new Refusal('key "a\nb" is wrong.', 'Mend\u001b it.', 'disk/not-json');
  assert.deepEqual([message, remedy], ['key "a\\u000ab" is wrong.', 'Mend\\u001b it.']);
});
