import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Generator } from '../../src/random/generator.js';

test('passing over n integers is drawing them', () => {
  for (const n of [0, 1, 2, 3, 31, 64, 100, 1023, 4097]) {
    const [passed, drawn] = [new Generator(5, n), new Generator(5, n)];
    passed.skip(n);
    for (let i = 0; i < n; i++) drawn.next();
    for (let i = 0; i < 5; i++) assert.equal(passed.next(), drawn.next(), `${n}`);
  }
});

test('long jumps add up', () => {
  const [once, twice] = [new Generator(5), new Generator(5)];
  once.skip(2 ** 41 + 12_345);
  twice.skip(2 ** 41 - 1);
  twice.skip(12_346);
  assert.equal(once.next(), twice.next());
});

test('normal numbers are the same one by one and together', () => {
  const [single, together] = [new Generator(6), new Generator(6)];
  const numbers = new Float64Array(1000);
  together.normals(numbers);
  for (const [i, value] of numbers.entries()) assert.equal(value, single.normal(), `${i}`);
  assert.equal(together.next(), single.next());
});
