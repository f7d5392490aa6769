import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { editDistance, nearest, nearPath } from '../../src/errors/nearest.js';
import { Generator } from '../../src/random/generator.js';
import { temporaryDirectory } from '../temporary.js';

test('edit distances known from the textbooks', () => {
  assert.equal(editDistance('kitten', 'sitting'), 3);
  assert.equal(editDistance('intention', 'execution'), 5);
  assert.equal(editDistance('saturday', 'sunday'), 3);
  assert.equal(editDistance('', 'abc'), 3);
  assert.equal(editDistance('abc', ''), 3);
  assert.equal(editDistance('', ''), 0);
  // Neighbours that were swapped are one slip; a swap is not undone by a later edit within it (optimal alignment).
  assert.equal(editDistance('trian', 'train'), 1);
  assert.equal(editDistance('ca', 'abc'), 3);
});

/** The definition, by trying every edit at the front. */
function bruteForce(a: string, b: string): number {
  if (a === '' || b === '') return a.length + b.length;
  const [restOfA, restOfB] = [a.slice(1), b.slice(1)];
  if (a[0] === b[0]) return bruteForce(restOfA, restOfB);
  const swapped = a.length > 1 && b.length > 1 && a[0] === b[1] && a[1] === b[0];
  const swap = swapped ? bruteForce(a.slice(2), b.slice(2)) : Number.POSITIVE_INFINITY;
  return 1 + Math.min(bruteForce(restOfA, b), bruteForce(a, restOfB), bruteForce(restOfA, restOfB), swap);
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

test('the nearest names come nearest first, as many as requested', () => {
  const names = ['batch', 'tokens', 'token', 'threads'];
  assert.deepEqual(nearest('tokns', names, 2), ['tokens', 'token']);
  assert.deepEqual(nearest('tokens', names, 1), ['tokens']);
});

test('a far name is not suggested', () => {
  const names = ['l1', 'lr', 'seed', 'batch', 'activations', 'checkpoint-every'];
  for (const far of ['x', 'k', 'l2', 'topk', 'bat', 'wandb-project', 'n-checkpoints', 'y'.repeat(1e6)]) {
    assert.deepEqual(nearest(far, names), [], far.slice(0, 20));
  }
});

test('a prefix suggests its name, and word separators do not count', () => {
  const names = ['rows-per-shard', 'overwrite', 'out'];
  assert.deepEqual(nearest('over', names), ['overwrite']);
  assert.deepEqual(nearest('rowsPerShard', names), ['rows-per-shard']);
  assert.deepEqual(nearest('rows_per_shard', names), ['rows-per-shard']);
});

test('names equally near keep their order', () => {
  assert.deepEqual(nearest('abx', ['abc', 'abd', 'abe'], 3), ['abc', 'abd', 'abe']);
  assert.deepEqual(nearest('abx', ['abe', 'abd', 'abc'], 3), ['abe', 'abd', 'abc']);
});

test('case does not count for nearness and is kept in the answer', () => {
  assert.deepEqual(nearest('DTYPE', ['batch', 'dType'], 1), ['dType']);
  assert.deepEqual(nearest('dtype', ['batch', 'DTYPE'], 1), ['DTYPE']);
});

test('a mistyped path suggests the entry meant, also in a mistyped directory', async () => {
  const root = temporaryDirectory();
  mkdirSync(join(root, 'assets', 'tiny-gemma'), { recursive: true });
  writeFileSync(join(root, 'assets', 'train.jsonl'), '');
  assert.equal(await nearPath(join(root, 'assets', 'tiny-gema')), join(root, 'assets', 'tiny-gemma'));
  assert.equal(await nearPath(join(root, 'asets', 'tiny-gemma')), join(root, 'assets', 'tiny-gemma'));
  assert.equal(await nearPath(join(root, 'assets', 'trian.jsonl')), join(root, 'assets', 'train.jsonl'));
  for (const far of ['elsewhere', 'assets/gpt2', 'nowhere/tiny-gemma'])
    assert.equal(await nearPath(join(root, far)), undefined);
  assert.equal(await nearPath('/no-such-root/x'), undefined);
  assert.equal(await nearPath('./asets'), 'assets');
});
