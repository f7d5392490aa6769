import { constants } from 'node:os';
import { systemRefusal } from '../disk/refused.js';
import { Interrupted, Refusal, type StopSignal } from '../errors/refusal.js';
import { jsonLine } from '../progress/json-log.js';

/** How the program speaks on standard error: to people, or to machines a JSON object a line. */
export const LOG_FORMATS = ['text', 'json'] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

const A_FAULT = 'This is a bug in sae-pipe; rerun with --verbose for a stack trace.';

/**
 * Says on standard error why a command ended before it was done.
 *
 * @param verbose with the stack
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
    const remedy = refusal ? refusal.remedy : trace ? undefined : A_FAULT;
    const stack = trace && { stack: trace.stack, cause: trace.cause === undefined ? undefined : String(trace.cause) };
    write(jsonLine('error', { code: refusal?.code, message, remedy, exit, ...stack }));
    return exit;
  }
  write(`sae-pipe: ${message}${refusal?.remedy ? ` ${refusal.remedy}` : ''}\n`);
  if (trace) write(`${trace.stack}\n${trace.cause ? `Cause: ${String(trace.cause)}\n` : ''}`);
  else if (!refusal) write(`${A_FAULT}\n`);
  return exit;
}

/** What a shell says of a process that the signal ended. */
const exitCodeOf = (signal: StopSignal) => 128 + constants.signals[signal];

/** Codes of a write whose reader has left. */
const UNREAD = ['EPIPE', 'ECONNRESET', 'ERR_STREAM_DESTROYED'];

/**
 * Standard output and standard error that may fail without ending the process. Who stops reading (`| head -1`, a
 * terminal that is closed) wants no more output, and the work continues; a standard output that cannot be
 * written for another reason (a file on a full disk) has lost results, which is told.
 */
export class StandardStreams {
  private failed: NodeJS.ErrnoException | undefined;

  constructor() {
    process.stderr.on('error', () => {});
    process.stdout.on('error', (cause: NodeJS.ErrnoException) => {
      // A terminal that was closed says EIO, and so does a failing disk.
      const unread = UNREAD.includes(cause.code ?? '') || (cause.code === 'EIO' && process.stdout.isTTY);
      if (!unread) this.failed ??= cause;
    });
  }

  /**
   * Waits until all that was printed has left.
   *
   * @throws Refusal where it could not be written
   */
  async flushed(): Promise<void> {
    await new Promise<void>((resolve) => process.stdout.write('', () => resolve()));
    if (this.failed === undefined) return;
    throw new Refusal(
      `Standard output could not be written (${this.failed.code}).`,
      'Send it elsewhere; what was to be written below --out is whole.',
      'cli/output-not-written',
      { cause: this.failed },
    );
  }
}
