import assert from 'node:assert/strict';
import { join } from 'node:path';
import { test } from 'node:test';
import { trainSchema } from '../../src/config/stages/train.js';
import { divide } from '../../src/sweep/division.js';
import type { SweepRun } from '../../src/sweep/runs.js';

/** A run of a store, of so much work; runs of one store share a read. */
function run(store: string, name: string, dSae: number, init?: SweepRun): SweepRun {
  const config = trainSchema.parse({ activations: store, out: join('o', store, name), dSae, tokens: 1000, steps: 1 });
  return { name: join(store, name), config: { ...config, init: init?.config.out } };
}
const cost = ({ config }: SweepRun) => config.dSae;
const sharesOf = (runs: readonly SweepRun[], tasks: number) =>
  divide(runs, tasks, cost).map((share) => share.map(({ name }) => name));

const grid = ['x', 'y', 'z'].flatMap((store) => [1, 2, 4].map((n) => run(store, `s${n}`, 100 * n)));

test('each run is in one share, for every number of shares, and the division is always the same', () => {
  for (const tasks of [1, 2, 3, 4, 7, 9, 12]) {
    const shares = sharesOf(grid, tasks);
    assert.equal(shares.length, tasks);
    assert.deepEqual(shares.flat().sort(), grid.map(({ name }) => name).sort(), String(tasks));
    assert.deepEqual(sharesOf(grid, tasks), shares);
  }
});

test('with a share for each group, runs that share a read stay together', () => {
  assert.deepEqual(
    sharesOf(grid, 3),
    ['x', 'y', 'z'].map((store) => [1, 2, 4].map((n) => join(store, `s${n}`))),
  );
});

test('with fewer shares than groups, no group is split and loads are even', () => {
  const groups = [run('a', 's', 400), run('b', 's', 300), run('c', 's', 200), run('d', 's', 100)];
  assert.deepEqual(sharesOf(groups, 2), [
    ['a/s', 'd/s'],
    ['b/s', 'c/s'],
  ]);
});

test('with more shares than groups, the costliest is cut first, where its halves are most equal', () => {
  const runs = [
    run('a', 's1', 100),
    run('a', 's2', 100),
    run('b', 's1', 300),
    run('b', 's2', 100),
    run('b', 's3', 100),
  ];
  assert.deepEqual(sharesOf(runs, 3), [['b/s1'], ['a/s1', 'a/s2'], ['b/s2', 'b/s3']]);
  const many = sharesOf(runs, 7);
  assert.equal(many.filter((share) => share.length === 1).length, 5);
  assert.equal(many.filter((share) => share.length === 0).length, 2);
  const most = sharesOf(runs, 999_999);
  assert.deepEqual([most.length, most.filter((share) => share.length === 1).length], [999_999, 5]);
});

test('a run that starts from another one’s SAE is trained by the same task, after it', () => {
  const first = run('a', 'first', 100);
  const runs = [first, run('b', 'alone', 100), run('c', 'second', 100, first), run('c', 'other', 100)];
  for (const tasks of [2, 3, 4]) {
    const share = sharesOf(runs, tasks).find((names) => names.includes('a/first'))!;
    assert.deepEqual(share, ['a/first', 'c/second', 'c/other'], String(tasks));
  }
});
