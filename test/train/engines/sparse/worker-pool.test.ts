import assert from 'node:assert/strict';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { pathToFileURL } from 'node:url';
import { WorkerPool } from '../../../../src/train/engines/sparse/worker-pool.js';
import { temporaryDirectory } from '../../../temporary.js';

// Answers are the request times the worker's number; 'fail' makes worker 1 throw, while the others wait for ever.
const SCRIPT = `
import { parentPort, workerData } from 'node:worker_threads';
parentPort.on('message', async (request) => {
  if (request !== 'fail' && request !== 'exit') return parentPort.postMessage(request * workerData);
  if (workerData === 1 && request === 'exit') process.exit(3);
  if (workerData === 1) throw new Error('the product failed.');
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0);
});
parentPort.postMessage('ready');
`;

const script = join(temporaryDirectory(), 'worker.mjs');
writeFileSync(script, SCRIPT);

const open = () => new WorkerPool<number, number | string, number>(pathToFileURL(script), [0, 1, 2]);

test('every worker is asked, and replies come in order', async () => {
  const pool = open();
  await pool.ready();
  assert.deepEqual(await pool.ask(5), [0, 5, 10]);
  assert.deepEqual(await pool.ask(7), [0, 7, 14]);
  await pool.close();
});

test('each worker can get a different request', async () => {
  const pool = open();
  await pool.ready();
  const transfer = [new ArrayBuffer(8)];
  assert.deepEqual(await pool.askEach([3, 4, 5].map((request) => ({ request, transfer: [] }))), [0, 4, 10]);
  await pool.askEach([1, 1, 1].map((request, i) => ({ request, transfer: i === 1 ? transfer : [] })));
  assert.equal(transfer[0]!.byteLength, 0, 'handed over');
  await pool.close();
});

test('a worker that fails ends the others, and the cause is reported then and on later requests', async () => {
  for (const [request, cause] of [
    ['fail', 'the product failed'],
    ['exit', 'it ended with code 3'],
  ] as const) {
    const pool = open();
    await pool.ready();
    const told = { message: `Worker 1 of the training engine failed: ${cause}` };
    await assert.rejects(pool.ask(request), told);
    await assert.rejects(pool.ask(5), told);
    await pool.close();
  }
});

test('a worker that cannot start is reported, too', async () => {
  const pool = new WorkerPool(pathToFileURL(`${script}.missing`), [0]);
  await assert.rejects(pool.ready(), /Worker 0 of the training engine failed: .*worker\.mjs\.missing/s);
  await pool.close();
});
