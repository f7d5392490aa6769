import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Interrupted } from '../../src/errors/refusal.js';
import type { StopRequest } from '../../src/progress/progress.js';
import { unlessStopped, untilStopped } from '../../src/progress/stop.js';

const interrupted = (work: Promise<unknown>) =>
  assert.rejects(work, (error: unknown) => {
    assert.ok(error instanceof Interrupted, String(error));
    assert.equal(error.signal, 'SIGINT');
    assert.equal(error.message, 'two rows are kept');
    return true;
  });
const message = () => 'two rows are kept';

test('work that ends gives its result or its failure', async () => {
  const stop: StopRequest = { signal: undefined };
  assert.equal(await unlessStopped(Promise.resolve(3), stop, message), 3);
  await assert.rejects(unlessStopped(Promise.reject(new Error('why')), stop, message), /^Error: why$/);
});

test('a stop ends the wait for work that does not end', async () => {
  const stop: StopRequest = { signal: undefined };
  const waiting = unlessStopped(new Promise(() => {}), stop, message);
  stop.signal = 'SIGINT';
  await interrupted(waiting);
});

test('work that fails after a stop was interrupted, and work that succeeds was not', async () => {
  const stop: StopRequest = { signal: 'SIGINT' };
  await interrupted(unlessStopped(Promise.reject(new Error('the pipe is closed')), stop, message));
  assert.equal(await unlessStopped(Promise.resolve(3), stop, message), 3);
});

/** Gives 1 and 2, and then nothing more; `closed` says whether it was closed. */
function stalling() {
  const state = { closed: false };
  async function* values() {
    try {
      yield 1;
      yield 2;
      // A file system that does not answer; the event loop is kept by the test.
      await new Promise((resolve) => setTimeout(resolve, 60_000).unref());
    } finally {
      state.closed = true;
    }
  }
  return { state, values: values() };
}

test('items are passed on, and a stop while none come ends the iteration', async () => {
  const keep = setInterval(() => {}, 1000);
  const stop: StopRequest = { signal: undefined };
  const found: number[] = [];
  for await (const value of untilStopped(stalling().values, stop)) {
    found.push(value);
    if (value === 2) stop.signal = 'SIGTERM';
  }
  assert.deepEqual(found, [1, 2]);
  clearInterval(keep);
});

test('leaving the iteration closes its source, and failures of the source are passed on', async () => {
  const stop: StopRequest = { signal: undefined };
  const { state, values } = stalling();
  for await (const _ of untilStopped(values, stop)) break;
  assert.ok(state.closed);
  async function* failing() {
    yield 1;
    throw new Error('why');
  }
  await assert.rejects(async () => {
    for await (const _ of untilStopped(failing(), stop));
  }, /^Error: why$/);
});
