import assert from 'node:assert/strict';
import { test } from 'node:test';
import { CheckpointClock } from '../../src/train/training-checkpoint.js';

test('by steps, counted from where the run was resumed', () => {
  const clock = new CheckpointClock('10', 7, () => 0);
  assert.deepEqual(
    [16, 17].map((step) => clock.due(step)),
    [false, true],
  );
  clock.written(17);
  assert.deepEqual(
    [26, 27].map((step) => clock.due(step)),
    [false, true],
  );
});

test('by minutes, whatever the steps', () => {
  let now = 1000;
  const clock = new CheckpointClock('2min', 0, () => now);
  assert.equal(clock.due(1_000_000), false);
  now += 119_999;
  assert.equal(clock.due(1), false);
  now += 1;
  assert.equal(clock.due(1), true);
  clock.written(1);
  assert.equal(clock.due(2), false);
});

test('0 is never', () => {
  for (const every of ['0', '0min']) assert.equal(new CheckpointClock(every, 0, () => 1e12).due(1e9), false);
});
