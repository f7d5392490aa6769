import { parentPort, workerData } from 'node:worker_threads';
import { Refusal, refusedReply } from '../errors/refusal.js';
import { openCheckpoint } from '../lm/checkpoint.js';
import { findHook } from '../lm/hooks.js';
import { type ForwardPass, openForwardPass } from './forward-pass.js';
import { activationsIn, type PassReply, type PassRequest, type PassStart } from './pass-thread.js';

if (!parentPort) throw new Error('pass-worker.js runs in a worker thread');
const port = parentPort;
const { model, hooks, context, config, over } = workerData as PassStart;
const unwanted = new Int32Array(over);

/** Sends refusals as such; any other error ends the thread, which reports it. */
async function attempt(work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    port.postMessage(refusedReply(error) satisfies PassReply);
  }
}

let pass: ForwardPass | undefined;

async function open(): Promise<void> {
  const checkpoint = await openCheckpoint(model);
  const found = hooks.map((name) => findHook(name, checkpoint.config));
  pass = await openForwardPass(checkpoint, found, context, config);
  port.postMessage({ kind: 'ready', contexts: pass.contexts } satisfies PassReply);
}

async function answer(request: PassRequest): Promise<void> {
  if (request === 'close') {
    await pass?.release();
    // Between two passes: a thread that is terminated within ONNX Runtime takes the process with it.
    process.exit();
  }
  if (Atomics.load(unwanted, 0) !== 0) return;
  const { contexts: group, leftOut, limit, memory } = request;
  const { rows, norms, count, contexts } = await pass!.run(group, leftOut, limit);
  for (const [k, { activation }] of rows.entries())
    activationsIn(memory[k]!, activation.length, config.dtype).set(activation);
  const { token, context: contextOf, pos } = rows[0]!;
  const reply = { kind: 'rows', token, context: contextOf, pos, norms, count, used: contexts.length } as const;
  const buffers = new Set([token, contextOf, pos, ...norms].map(({ buffer }) => buffer as ArrayBuffer));
  port.postMessage(reply satisfies PassReply, [...buffers]);
}

let before = attempt(open());
port.on('message', (request: PassRequest) => {
  before = before.then(() => attempt(answer(request)));
});
