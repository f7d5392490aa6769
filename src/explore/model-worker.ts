import { parentPort } from 'node:worker_threads';
import { Refusal, refusedReply } from '../errors/refusal.js';

/** A request to such a thread: a query to the model, or to close. */
export type ModelRequest<Asked> = { readonly kind: 'asked'; readonly asked: Asked } | { readonly kind: 'close' };

/**
 * The loop of a model thread: it opens the model, and answers one request after another.
 *
 * @param answer answers a query; `tell` sends a message before the answer
 */
export function serveModel<Model extends { close(): Promise<void> }, Asked, Told>(
  open: () => Promise<Model>,
  answer: (model: Model, asked: Asked, tell: (told: Told) => void) => Promise<unknown>,
): void {
  if (!parentPort) throw new Error('a model is served in a worker thread');
  const port = parentPort;
  const attempt = (work: Promise<void>) =>
    work.catch((error) => {
      if (!(error instanceof Refusal)) throw error;
      port.postMessage(refusedReply(error));
    });
  const opened = open();
  // The first request receives the error if it could not be opened.
  opened.then(
    () => port.postMessage({ kind: 'opened' }),
    () => {},
  );
  const tell = (told: Told) => port.postMessage({ kind: 'told', told });
  let last: Promise<unknown> = Promise.resolve();
  port.on('message', (request: ModelRequest<Asked>) => {
    // After its current computation: terminating a thread within ONNX Runtime would kill the process.
    if (request.kind === 'close') {
      const close = last.then(() => opened).then((model) => model.close());
      close.then(
        () => process.exit(),
        () => process.exit(),
      );
      return;
    }
    const answered = opened.then((model) => answer(model, request.asked, tell));
    last = attempt(answered.then((found) => port.postMessage({ kind: 'answer', answer: found })));
  });
}
