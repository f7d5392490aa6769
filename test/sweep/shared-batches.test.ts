import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { SharedBatches } from '../../src/sweep/train-runs.js';

/** Batches that say which they are, and how many were read. */
function counting(first: number) {
  const source = {
    read: 0,
    next: async () => {
      await setImmediate();
      return Float32Array.of(first + source.read++);
    },
  };
  return source;
}
/** Is it still waiting after everything that can happen has happened? */
async function waits(promise: Promise<unknown>): Promise<boolean> {
  let settled = false;
  promise.finally(() => {
    settled = true;
  });
  for (let i = 0; i < 50; i++) await setImmediate();
  return !settled;
}

test('every reader gets every batch from its position on, read once', async () => {
  const source = counting(3);
  const shared = new SharedBatches(source.next, [3, 5], 8);
  const take = async (reader: number, count: number) => {
    const taken: number[] = [];
    for (let i = 0; i < count; i++) taken.push((await shared.next(reader))[0]!);
    return taken;
  };
  const [a, b] = await Promise.all([take(0, 5), take(1, 3)]);
  assert.deepEqual(a, [3, 4, 5, 6, 7]);
  assert.deepEqual(b, [5, 6, 7]);
  assert.equal(source.read, 5);
  assert.equal(shared.held.size, 0, 'taken by all');
});

test('a reader that is ahead waits for the slowest, until that one leaves', async () => {
  const source = counting(0);
  const shared = new SharedBatches(source.next, [0, 0], 3);
  for (let i = 0; i < 3; i++) await shared.next(0);
  const fourth = shared.next(0);
  assert.ok(await waits(fourth));
  assert.equal(source.read, 3);
  assert.equal((await shared.next(1))[0], 0);
  assert.equal((await fourth)[0], 3);
  const fifth = shared.next(0);
  assert.ok(await waits(fifth));
  shared.leave(1);
  assert.equal((await fifth)[0], 4);
});

test('batches that only departed readers needed are skipped', async () => {
  const source = counting(0);
  const shared = new SharedBatches(source.next, [0, 6], 3);
  const far = shared.next(1);
  assert.ok(await waits(far));
  shared.leave(0);
  assert.equal((await far)[0], 6);
  assert.deepEqual([...shared.held.keys()], []);
});

test('a failure of the source reaches every reader', async () => {
  const shared = new SharedBatches(() => Promise.reject(new Error('gone')), [0, 0], 3);
  await assert.rejects(shared.next(0), /gone/);
  await assert.rejects(shared.next(1), /gone/);
});
