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

/**
 * Passes on what comes, and ends when a stop is asked for while nothing comes: a text may be read for minutes before it
 * has anything to give, and a disk may not answer. Readers of this ask `stop` why it ended. It is closed as `source` is,
 * but does not wait for an answer that has not come.
 */
export async function* untilStopped<T>(source: AsyncGenerator<T>, stop: StopRequest): AsyncGenerator<T, void> {
  let give: (() => void) | undefined;
  const timer = setInterval(() => {
    if (stop.signal) give?.();
  }, LOOK);
  // Whoever waits keeps the process alive by what is waited for.
  timer.unref();
  let waiting = false;
  try {
    for (;;) {
      waiting = true;
      const result = await new Promise<IteratorResult<T> | undefined>((resolve, reject) => {
        give = () => resolve(undefined);
        source.next().then(resolve, reject);
      });
      if (result === undefined) return;
      waiting = false;
      if (result.done) return;
      yield result.value;
    }
  } finally {
    clearInterval(timer);
    const closed = source.return(undefined);
    if (waiting) closed.catch(() => {});
    else await closed;
  }
}
