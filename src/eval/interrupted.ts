import { Interrupted } from '../config/refusal.js';
import type { StopRequest } from '../progress/progress.js';

/** What an evaluation ends with on Ctrl-C: it writes all of its results at once. */
export function interrupted(signal: NonNullable<StopRequest['signal']>): Interrupted {
  return new Interrupted(
    signal,
    'the evaluation was not finished and nothing was written; the same command begins it again.',
  );
}
