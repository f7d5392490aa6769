import type { StopSignal } from '../progress/stop-signals.js';
import { oneLine } from './one-line.js';

/**
 * A problem the user can mend: bad input, a full disk, a name that does not exist. The command line prints the message
 * and the remedy, no stack, and exits 1 (2 where the command itself was wrong).
 */
export class Refusal extends Error {
  readonly remedy: string | undefined;
  readonly exitCode: 1 | 2;

  /**
   * @param message one sentence naming the thing and what is wrong with it
   * @param remedy one sentence: what to do about it
   */
  constructor(message: string, remedy?: string, options: { exitCode?: 1 | 2; cause?: unknown } = {}) {
    super(oneLine(message), options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'Refusal';
    this.remedy = remedy === undefined ? undefined : oneLine(remedy);
    this.exitCode = options.exitCode ?? 1;
  }
}

/** A mistake in the command itself: an unknown flag, a value out of range. Exit code 2. */
export class UsageRefusal extends Refusal {
  constructor(message: string, remedy?: string) {
    super(message, remedy, { exitCode: 2 });
    this.name = 'UsageRefusal';
  }
}

/** A signal asked to stop; work done so far is on disk. The exit code is 128 + the signal's number. */
export class Interrupted extends Error {
  constructor(
    readonly signal: StopSignal,
    /** What is on disk, and how to go on. */
    message: string,
  ) {
    super(message);
    this.name = 'Interrupted';
  }
}
