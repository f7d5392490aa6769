import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseJson } from '../../src/disk/json.js';

test('JSON is parsed as it is', () => {
  const text = '{"a":[1,{"b":null}],"__proto__":{"c":"\\ud800"}}';
  assert.deepEqual(parseJson(text), JSON.parse(text));
  assert.throws(() => parseJson('{'), SyntaxError);
});

test('nesting without end is refused: what writes or compares the value would overflow its stack', () => {
  const nested = (open: string, close: string, levels: number) => open.repeat(levels) + close.repeat(levels);
  parseJson(nested('[', ']', 200));
  for (const text of [nested('[', ']', 100_000), `${'{"a":'.repeat(100_000)}1${'}'.repeat(100_000)}`]) {
    assert.throws(() => JSON.stringify(JSON.parse(text)), RangeError);
    assert.throws(() => parseJson(text), /nested more than 200 levels/);
  }
});

test('what is not JSON is not quoted: it may be another file than its reader believes', () => {
  for (const text of [
    'SECRET',
    '{"a": SECRET}',
    '{"SECRET":1 "b"}',
    '"SECRET',
    '{"a":"SECRET\\q"}',
    '[1] SECRET',
    '{"SECRET',
  ]) {
    assert.throws(
      () => parseJson(text),
      (error) => error instanceof SyntaxError && error.message !== '' && !/SECRE/.test(error.message),
      text,
    );
  }
});
