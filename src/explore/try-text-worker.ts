import { parentPort, workerData } from 'node:worker_threads';
import { Refusal, refusedReply } from '../errors/refusal.js';
import type { TrialReply, TrialRequest } from './text-trial.js';
import { type TrialSettings, TriedModel } from './tried-model.js';

if (!parentPort) throw new Error('try-text-worker.js runs in a worker thread');
const port = parentPort;
const tell = (reply: TrialReply) => port.postMessage(reply);
const attempt = (work: Promise<void>) =>
  work.catch((error) => {
    if (!(error instanceof Refusal)) throw error;
    tell(refusedReply(error));
  });

const opened = TriedModel.open(workerData as TrialSettings);
// Whoever asks first is told why it could not be opened.
opened.then(
  () => tell({ kind: 'opened' }),
  () => {},
);
port.on('message', (request: TrialRequest) => {
  // Between two texts: a thread that is terminated within ONNX Runtime takes the process with it.
  if (request === 'close') {
    const close = opened.then((model) => model.close());
    close.then(
      () => process.exit(),
      () => process.exit(),
    );
  } else void attempt(opened.then(async (model) => tell({ kind: 'tried', tried: await model.run(request) })));
});
