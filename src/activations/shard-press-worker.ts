import { parentPort } from 'node:worker_threads';
import { type PressRequest, pressShard } from './shard-press.js';

if (!parentPort) throw new Error('shard-press-worker.js runs in a worker thread');
const port = parentPort;
let before: Promise<void> = Promise.resolve();

async function answer({ rows, d, dtype }: PressRequest): Promise<void> {
  // The large pieces are in memory that is shared.
  port.postMessage(await pressShard(rows, d, dtype));
}

port.on('message', (request: PressRequest) => {
  // One after another: replies come in the order of the requests.
  before = before.then(() => answer(request));
});
