import { parentPort } from 'node:worker_threads';
import { Refusal, refusedReply } from '../errors/refusal.js';

/** What such a thread is asked for: something of the model, or its end. */
export type ModelRequest<Asked> = { readonly kind: 'asked'; readonly asked: Asked } | { readonly kind: 'close' };

/**
 * The loop of a thread that has a model open: it opens it, and answers one request after another.
 *
 * @param answer what is asked of the model; `tell` sends something before the answer
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
  // Whoever asks first is told why it could not be opened.
  opened.then(
    () => port.postMessage({ kind: 'opened' }),
    () => {},
  );
  const tell = (told: Told) => port.postMessage({ kind: 'told', told });
  let last: Promise<unknown> = Promise.resolve();
  port.on('message', (request: ModelRequest<Asked>) => {
    // After what it computes: a thread that is terminated within ONNX Runtime takes the process with it.
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
