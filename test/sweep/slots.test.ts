import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { Slots } from '../../src/sweep/train-runs.js';

test('no more than the limit run at a time, in the order of requests, failures included', async () => {
  const slots = new Slots(2);
  const begun: number[] = [];
  let [busy, most] = [0, 0];
  const work = (i: number) =>
    slots.use(async () => {
      begun.push(i);
      most = Math.max(most, ++busy);
      for (let k = 0; k < 3 + (i % 3); k++) await setImmediate();
      busy--;
      if (i === 1) throw new Error('one');
      return i;
    });
  const results = await Promise.allSettled([0, 1, 2, 3, 4, 5].map(work));
  assert.equal(most, 2);
  await Promise.all([6, 8, 9].map(work));
  assert.equal(most, 2, 'and no more afterwards');
  assert.deepEqual(begun, [0, 1, 2, 3, 4, 5, 6, 8, 9]);
  assert.deepEqual(
    results.map((result) => (result.status === 'fulfilled' ? result.value : 'failed')),
    [0, 'failed', 2, 3, 4, 5],
  );
});
