import assert from 'node:assert/strict';
import { test } from 'node:test';
import { listed } from '../../src/config/suggest.js';
import { compact, fixed, integer, percent, shortSetting } from '../../src/report/numbers-and-axes.js';

test('numbers are written for readers', () => {
  assert.equal(fixed(-0.00001, 3), '0.000');
  assert.equal(fixed(-1234.56, 1), '\u22121,234.6');
  assert.equal(fixed(Number.NaN, 2), '–');
  assert.equal(integer(1048576), '1,048,576');
  assert.equal(percent(0.98765, 2), '98.77');
  assert.deepEqual([50, 0.25, 3e-4, 999, 1234, 20000, 1.5e6, 2e9, 0].map(compact), [
    '50',
    '0.25',
    '3e-4',
    '999',
    '1,230',
    '20k',
    '1.5M',
    '2B',
    '0',
  ]);
  assert.equal(listed(['a', 'b', 'c']), 'a, b and c');
});

test('a setting is written as given, and to 4 digits where a computation found it', () => {
  const found = [3, 1.2345, 1e-4, 0.000123, 2.8219490944471985].map(shortSetting);
  assert.deepEqual(found, ['3', '1.2345', '1e-4', '1.23e-4', '2.822']);
});
