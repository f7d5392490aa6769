import assert from 'node:assert/strict';
import { test } from 'node:test';
import { secondsLeft, shortCount, Task } from '../../src/progress/progress.js';

/** A task of 100 units and the clock it goes by, in milliseconds. */
function taskOf100() {
  const clock = { ms: 5000 };
  return { clock, task: new Task('training', 100, 'step', () => clock.ms) };
}

test('the rate is work since the beginning over time, and the time left follows from it', () => {
  const { clock, task } = taskOf100();
  task.update(0);
  clock.ms += 4000;
  task.update(20);
  assert.equal(task.done, 20);
  assert.equal(task.seconds(), 4);
  assert.equal(task.rate(), 5);
  assert.equal(task.left(), 16);
});

test('work of an earlier run counts as done, but not in the rate', () => {
  const { clock, task } = taskOf100();
  task.update(60);
  assert.equal(task.rate(), 0);
  clock.ms += 2000;
  task.update(80);
  assert.equal(task.rate(), 10);
  assert.equal(task.left(), 2);
});

test('before anything is known no time left is shown', () => {
  const { clock, task } = taskOf100();
  assert.equal(task.begun, false);
  assert.equal(task.rate(), 0);
  clock.ms += 1000;
  assert.equal(task.rate(), 0);
  assert.equal(task.left(), undefined);
  task.update(0);
  assert.equal(task.begun, true);
  assert.equal(task.left(), undefined);
});

test('a task whose end is not known, or passed, has no time left, or none', () => {
  assert.equal(secondsLeft(Number.POSITIVE_INFINITY, 5), undefined);
  assert.equal(secondsLeft(Number.NaN, 5), undefined);
  assert.equal(secondsLeft(10, 0), undefined);
  assert.equal(secondsLeft(-3, 5), 0);
  assert.equal(secondsLeft(10, 5), 2);
});

test('a count is whole; a rate below 10 has one decimal', () => {
  const shown = [0, 7, 0.04, 3.26, 12.4, 999, 63_912].map(shortCount);
  assert.deepEqual(shown, ['0', '7', '0.0', '3.3', '12', '999', '63.9k']);
});
