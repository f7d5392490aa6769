import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Interrupted } from '../../src/config/refusal.js';
import type { StopRequest } from '../../src/progress/progress.js';
import { unlessStopped } from '../../src/progress/unless-stopped.js';

const interrupted = (work: Promise<unknown>) =>
  assert.rejects(work, (error: unknown) => {
    assert.ok(error instanceof Interrupted, String(error));
    assert.equal(error.signal, 'SIGINT');
    assert.equal(error.message, 'two rows are kept');
    return true;
  });
const message = () => 'two rows are kept';

test('work that comes to an end is what it comes to, a failure included', async () => {
  const stop: StopRequest = { signal: undefined };
  assert.equal(await unlessStopped(Promise.resolve(3), stop, message), 3);
  await assert.rejects(unlessStopped(Promise.reject(new Error('why')), stop, message), /^Error: why$/);
});

test('a stop ends the waiting for work that does not', async () => {
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
