import { constants } from 'node:os';
import { systemRefusal } from '../disk/refused.js';
import { Interrupted, Refusal, type StopSignal } from '../errors/refusal.js';
import { jsonLine } from '../progress/json-log.js';

/** Format of standard error: text for people, or one JSON object per line. */
export const LOG_FORMATS = ['text', 'json'] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

const BUG = 'This is a bug in sae-pipe; rerun with --verbose for a stack trace.';

/**
 * Writes to standard error why a command ended early.
 *
 * @param verbose whether to print the stack trace
 * @returns the exit code
 */
export function explain(error: unknown, { verbose, log }: { verbose: boolean; log: LogFormat }): number {
  const write = (text: string) => process.stderr.write(text);
  if (error instanceof Interrupted) {
    const { signal, message } = error;
    const exit = exitCodeOf(signal);
    write(log === 'json' ? jsonLine('interrupted', { signal, message, exit }) : `Stopped (${signal}): ${message}\n`);
    return exit;
  }
  const refusal = error instanceof Refusal ? error : systemRefusal(error);
  const message = refusal?.message ?? (error instanceof Error ? error.message : String(error));
  const exit = refusal?.exitCode ?? 1;
  const trace = verbose && error instanceof Error ? error : undefined;
  if (log === 'json') {
    const remedy = refusal ? refusal.remedy : trace ? undefined : BUG;
    const stack = trace && { stack: trace.stack, cause: trace.cause === undefined ? undefined : String(trace.cause) };
    write(jsonLine('error', { code: refusal?.code, message, remedy, exit, ...stack }));
    return exit;
  }
  write(`sae-pipe: ${message}${refusal?.remedy ? ` ${refusal.remedy}` : ''}\n`);
  if (trace) write(`${trace.stack}\n${trace.cause ? `Cause: ${String(trace.cause)}\n` : ''}`);
  else if (!refusal) write(`${BUG}\n`);
  return exit;
}

/** Exit code that a shell reports for a process ended by the signal. */
const exitCodeOf = (signal: StopSignal) => 128 + constants.signals[signal];

/** Error codes of a write whose reader has exited. */
const UNREAD = ['EPIPE', 'ECONNRESET', 'ERR_STREAM_DESTROYED'];

/**
 * Standard output and standard error that may fail without ending the process. A reader that stops (`| head -1`, a
 * closed terminal) wants no more output, and the work continues; any other write error on standard output (a file on a
 * full disk) means lost results, and is reported.
 */
export class StandardStreams {
  private failed: NodeJS.ErrnoException | undefined;

  constructor() {
    process.stderr.on('error', () => {});
    process.stdout.on('error', (cause: NodeJS.ErrnoException) => {
      // A closed terminal gives EIO, and so does a failing disk.
      const unread = UNREAD.includes(cause.code ?? '') || (cause.code === 'EIO' && process.stdout.isTTY);
      if (!unread) this.failed ??= cause;
    });
  }

  /**
   * Waits until everything printed has been written.
   *
   * @throws Refusal if it could not be written
   */
  async flushed(): Promise<void> {
    await new Promise<void>((resolve) => process.stdout.write('', () => resolve()));
    if (this.failed === undefined) return;
    throw new Refusal(
      `Standard output could not be written (${this.failed.code}).`,
      'Redirect it elsewhere; everything below --out was written completely.',
      'cli/output-not-written',
      { cause: this.failed },
    );
  }
}
