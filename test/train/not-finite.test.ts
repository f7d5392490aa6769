import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findBroken } from '../../src/train/not-finite.js';

const state = (changes: Record<string, number[]> = {}) =>
  new Map(
    Object.entries({ W_dec: [1, 0, 0, -1], r_mag: [0, 88], 'v/W_dec': [0, 0, 0, 0], ...changes }).map(
      ([name, values]) => [name, Float32Array.from(values)] as const,
    ),
  );

test('a finite state passes, zeros of moments and the largest numbers included', () => {
  assert.equal(findBroken(state({ b_dec: [3.4028234e38, -3.4028234e38, 1e-45] }), 2, true), undefined);
});

test('values that no step can repair are named', () => {
  assert.equal(findBroken(state({ b_dec: [0, Number.NaN] }), 2, true), 'b_dec contains NaN (entry 1)');
  assert.equal(findBroken(state({ 'v/W_dec': [0, 0, 0, 1e39] }), 2, true), 'v/W_dec contains Infinity (entry 3)');
  assert.equal(findBroken(state({ r_mag: [0, 89] }), 2, true), 'exp(r_mag) of feature 1 overflows');
  assert.equal(findBroken(state({ W_dec: [1, 0, 0, 0] }), 2, true), 'row 1 of W_dec is zero');
  assert.equal(findBroken(state({ W_dec: [1, 0, 0, 0] }), 2, false), undefined, 'rows that are not kept at norm 1');
});
