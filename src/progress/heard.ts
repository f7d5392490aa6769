import { setImmediate } from 'node:timers/promises';
import type { StopRequest } from './progress.js';

/**
 * Was a stop asked for? A signal that came during a call that occupies the thread, as ONNX Runtime's are, is delivered
 * by the event loop only; what follows such a call at once would begin the next one first.
 */
export async function heard(stop: StopRequest): Promise<boolean> {
  await setImmediate();
  return stop.signal !== undefined;
}
