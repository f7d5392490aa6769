import assert from 'node:assert/strict';
import { test } from 'node:test';
import { editDistance, nearest } from '../../src/config/nearest.js';
import { Generator } from '../../src/random/generator.js';

test('edit distances known from the textbooks', () => {
  assert.equal(editDistance('kitten', 'sitting'), 3);
  assert.equal(editDistance('intention', 'execution'), 5);
  assert.equal(editDistance('flaw', 'lawn'), 2);
  assert.equal(editDistance('saturday', 'sunday'), 3);
  assert.equal(editDistance('', 'abc'), 3);
  assert.equal(editDistance('abc', ''), 3);
  assert.equal(editDistance('', ''), 0);
});

/** The definition, by trying every edit at the front. */
function bruteForce(a: string, b: string): number {
  if (a === '' || b === '') return a.length + b.length;
  const [restOfA, restOfB] = [a.slice(1), b.slice(1)];
  if (a[0] === b[0]) return bruteForce(restOfA, restOfB);
  return 1 + Math.min(bruteForce(restOfA, b), bruteForce(a, restOfB), bruteForce(restOfA, restOfB));
}

test('the edit distance is that of the recursive definition, and symmetric', () => {
  const random = new Generator(11);
  const word = () => Array.from({ length: random.below(7) }, () => 'abc'[random.below(3)]).join('');
  for (let i = 0; i < 500; i++) {
    const [a, b] = [word(), word()];
    assert.equal(editDistance(a, b), bruteForce(a, b), `${a} → ${b}`);
    assert.equal(editDistance(b, a), editDistance(a, b));
  }
});

test('the nearest names come nearest first, as many as asked for', () => {
  const names = ['batch', 'tokens', 'token', 'threads'];
  assert.deepEqual(nearest('tokns', names, 2), ['tokens', 'token']);
  assert.deepEqual(nearest('tokens', names, 1), ['tokens']);
  assert.equal(nearest('x', names).length, 3);
  assert.deepEqual(nearest('x', ['only'], 5), ['only']);
});

test('names equally near keep their order', () => {
  assert.deepEqual(nearest('ax', ['ab', 'ac', 'ad'], 3), ['ab', 'ac', 'ad']);
  assert.deepEqual(nearest('ax', ['ad', 'ac', 'ab'], 3), ['ad', 'ac', 'ab']);
});

test('case does not count for nearness and is kept in the answer', () => {
  assert.deepEqual(nearest('DTYPE', ['batch', 'dType'], 1), ['dType']);
  assert.deepEqual(nearest('dtype', ['batch', 'DTYPE'], 1), ['DTYPE']);
});
