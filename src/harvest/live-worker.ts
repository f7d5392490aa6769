import { parentPort, workerData } from 'node:worker_threads';
import { Refusal, refusedReply } from '../errors/refusal.js';
import { LiveHarvest } from './live-harvest.js';
import type { LiveReply, LiveRequest, LiveStart } from './live-source.js';

async function main(port: NonNullable<typeof parentPort>): Promise<void> {
  /** Sends refusals as such; any other error ends the thread, which reports it. */
  const attempt = (work: Promise<void>) =>
    work.catch((error) => {
      if (!(error instanceof Refusal)) throw error;
      port.postMessage(refusedReply(error) satisfies LiveReply);
    });
  let harvest: LiveHarvest;
  port.on('message', (request: LiveRequest) => {
    // Between two passes: a thread that is terminated within ONNX Runtime takes the process with it.
    if (request.kind === 'close') process.exit();
    else if (request.kind === 'begin') void attempt(harvest.begin(request.seed, request.skip));
    else void attempt(harvest.window());
  });
  const opened = LiveHarvest.open(workerData as LiveStart, (reply, transfer) => port.postMessage(reply, transfer));
  await attempt(
    opened.then((open) => {
      harvest = open;
    }),
  );
}

if (!parentPort) throw new Error('live-worker.js runs in a worker thread');
await main(parentPort);
