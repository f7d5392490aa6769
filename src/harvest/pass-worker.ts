import { parentPort, workerData } from 'node:worker_threads';
import { buffersOf } from '../activations/rows.js';
import { Refusal, refusedReply } from '../errors/refusal.js';
import { openCheckpoint } from '../lm/checkpoint.js';
import { findHook } from '../lm/hooks.js';
import { type OpenPass, openForwardPass } from './forward-pass.js';
import { type PassReply, type PassRequest, type PassStart, ROOM } from './pass-thread.js';

if (!parentPort) throw new Error('pass-worker.js runs in a worker thread');
const port = parentPort;
const { model, hooks, context, config, over } = workerData as PassStart;
const unwanted = new Int32Array(over);

/** Tells refusals as what they are; anything else ends the thread, which is told by its error. */
async function attempt(work: Promise<void>): Promise<void> {
  try {
    await work;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    port.postMessage(refusedReply(error) satisfies PassReply);
  }
}

let pass: OpenPass | undefined;

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
  const { contexts: group, leftOut, limit, memory: given } = request;
  const { rows, norms, count, contexts } = await pass!.run(group, leftOut, limit, { given, room: ROOM });
  const memory = new Set([...rows.flatMap(buffersOf), ...norms.map(({ buffer }) => buffer as ArrayBuffer)]);
  port.postMessage({ kind: 'rows', rows, norms, count, used: contexts.length } satisfies PassReply, [...memory]);
}

let before = attempt(open());
port.on('message', (request: PassRequest) => {
  before = before.then(() => attempt(answer(request)));
});
