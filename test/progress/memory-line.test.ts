import assert from 'node:assert/strict';
import { test } from 'node:test';
import { memoryLine } from '../../src/disk/space.js';

test('the bound is the sum of its parts, and parts of nothing are left out', () => {
  const parts = { engine: 2 ** 30, rows: 2 ** 29, resampling: 0 };
  assert.equal(memoryLine(parts), 'Memory: at most 1.5 GiB (engine 1.0 GiB, rows 512.0 MiB).');
});
