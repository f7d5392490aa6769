import assert from 'node:assert/strict';
import { test } from 'node:test';
import type { StopRequest } from '../../src/progress/progress.js';
import { stopRequested } from '../../src/progress/stop.js';

test('a signal that came while the thread was busy is noticed before the next step', async () => {
  const stop: StopRequest = { signal: undefined };
  process.once('SIGUSR2', () => {
    stop.signal = 'SIGTERM';
  });
  assert.equal(await stopRequested(stop), false);
  // As ONNX Runtime does it: the work in one turn of the event loop, its result a promise.
  await new Promise<void>((resolve) => {
    setImmediate(() => {
      process.kill(process.pid, 'SIGUSR2');
      resolve();
    });
  });
  assert.equal(stop.signal, undefined, 'whoever looks at once would begin the next pass');
  assert.equal(await stopRequested(stop), true);
});
