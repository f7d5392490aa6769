import assert from 'node:assert/strict';
import { test } from 'node:test';
import { oneLine, Refusal } from '../../src/errors/refusal.js';

test('what breaks a line or commands a terminal is escaped, and nothing else', () => {
  assert.equal(
    oneLine('a\nb\r\u001b[2J\u0000\u0085\u2028\ud800'),
    'a\\u000ab\\u000d\\u001b[2J\\u0000\\u0085\\u2028\\ud800',
  );
  assert.equal(oneLine('λ → 😀 "x" \\'), 'λ → 😀 "x" \\');
});

test('what is too long is cut in the middle', () => {
  const cut = oneLine(`begin${'x'.repeat(10 ** 6)}end`);
  assert.ok(cut.length < 2100);
  assert.ok(cut.startsWith('begin') && cut.endsWith('end'));
});

test('a refusal is one line, whatever a file has put into it', () => {
  const { message, remedy } = new Refusal('key "a\nb" is wrong.', 'Mend\u001b it.', 'disk/not-json');
  assert.deepEqual([message, remedy], ['key "a\\u000ab" is wrong.', 'Mend\\u001b it.']);
});
