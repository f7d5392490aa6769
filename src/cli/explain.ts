import { constants } from 'node:os';
import { Interrupted, Refusal } from '../config/refusal.js';
import { jsonLine } from '../progress/json-log.js';
import type { StopSignal } from '../progress/stop-signals.js';
import { systemRefusal } from './system-refusal.js';

/** How the program speaks on standard error: to people, or to machines a JSON object a line. */
export const LOG_FORMATS = ['text', 'json'] as const;
export type LogFormat = (typeof LOG_FORMATS)[number];

const A_FAULT = 'This is a fault of the program; --verbose shows where.';

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
    write(jsonLine('error', { message, remedy, exit, ...stack }));
    return exit;
  }
  write(`sae-pipe: ${message}${refusal?.remedy ? ` ${refusal.remedy}` : ''}\n`);
  if (trace) write(`${trace.stack}\n${trace.cause ? `Cause: ${String(trace.cause)}\n` : ''}`);
  else if (!refusal) write(`${A_FAULT}\n`);
  return exit;
}

/** What a shell says of a process that the signal ended. */
const exitCodeOf = (signal: StopSignal) => 128 + constants.signals[signal];
