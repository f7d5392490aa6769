import { Interrupted } from '../config/refusal.js';
import type { StopRequest } from './progress.js';

/** What a stop before the first change comes to. */
export const NOTHING_BEGUN = 'nothing was begun yet; the same command begins it.';

/**
 * To be called before a stretch of work that cannot be stopped.
 *
 * @throws Interrupted when a stop was asked for
 */
export function throwIfStopped({ signal }: StopRequest, message: string): void {
  if (signal) throw new Interrupted(signal, message);
}

/** Milliseconds between looks at the stop request. */
const LOOK = 100;

/**
 * What `work` comes to, however long that takes, unless a stop is asked for first; what it comes to then is let go. Work
 * that fails after that fails because of it: a stop of a whole pipe ends the other side too.
 *
 * @param message what is kept, and how to go on
 * @throws Interrupted
 */
export async function unlessStopped<T>(work: Promise<T>, stop: StopRequest, message: () => string): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const stopped = new Promise<never>((_, reject) => {
    timer = setInterval(() => {
      if (stop.signal) reject(new Interrupted(stop.signal, message()));
    }, LOOK);
  });
  try {
    return await Promise.race([work, stopped]);
  } catch (error) {
    throw stop.signal ? new Interrupted(stop.signal, message()) : error;
  } finally {
    clearInterval(timer);
  }
}
