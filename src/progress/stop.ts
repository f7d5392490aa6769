import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { Interrupted, STOP_SIGNALS, type StopSignal } from '../errors/refusal.js';
import type { Progress, StopRequest } from './progress.js';

/**
 * Signals that express insistence when repeated. Of the others, a single stop may send several: a closed terminal and
 * its shell both send SIGHUP, SIGXCPU comes every second, and Slurm sends SIGTERM after its warning signal.
 */
const INSISTENT: readonly StopSignal[] = ['SIGINT', 'SIGTERM', 'SIGQUIT'];

/**
 * Milliseconds within which a repeated signal counts as one: npx forwards Ctrl-C to a command that the terminal has
 * already signalled.
 */
const SAME = 250;

/** Interprets signals: the first asks to stop, a later insistent one ends the process at once. */
export class StopSignals implements StopRequest {
  signal: StopSignal | undefined;
  private insisted: { signal: StopSignal; at: number } | undefined;

  /**
   * @param now milliseconds of a monotonic clock
   * @returns whether to stop in an orderly way, to end at once, or to keep stopping
   */
  receive(signal: StopSignal, now: number): 'stop' | 'end' | 'stopping' {
    const first = this.signal === undefined;
    this.signal ??= signal;
    const before = this.insisted;
    if (INSISTENT.includes(signal)) this.insisted ??= { signal, at: now };
    if (first) return 'stop';
    if (before === undefined || this.insisted !== before || !INSISTENT.includes(signal)) return 'stopping';
    return before.signal === signal && now - before.at < SAME ? 'stopping' : 'end';
  }
}

/**
 * Listens for the signals that ask to stop; from now on none of them ends the process by itself.
 *
 * @returns what the stages poll between steps
 */
export function watchSignals(progress: Progress): StopRequest {
  const stop = new StopSignals();
  for (const signal of STOP_SIGNALS) {
    const ignored = signal === 'SIGHUP' && hangupIsIgnored();
    const before = process.listeners(signal);
    process.on(signal, () => {
      if (ignored) return;
      const answer = stop.receive(signal, performance.now());
      if (answer === 'stop') progress.say(`${signal}: finishing the current step (again: stop at once)`);
      if (answer === 'end') endBy(signal);
    });
    // After adding the new listener, so that there always is one.
    for (const listener of before) process.removeListener(signal, listener);
  }
  return stop;
}

/**
 * Ends the process with the signal itself: process.exit would terminate worker threads within ONNX Runtime, and abort.
 */
function endBy(signal: NodeJS.Signals): void {
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
}

/**
 * Was the program started so as to outlive its terminal (nohup)? Node resets inherited signal handling, so this is
 * inferred from what nohup leaves behind: the shell's variable `_`, and a parent that ignores the signal, as a shell
 * script started by nohup does.
 */
export function hangupIsIgnored(environment: NodeJS.ProcessEnv = process.env, parent: number = process.ppid): boolean {
  return basename(environment._ ?? '') === 'nohup' || ignores(parent, 'SIGHUP') || ignores('self', 'SIGHUP');
}

/** Does a process ignore a signal? Linux only; elsewhere unknown. */
function ignores(pid: number | 'self', signal: 'SIGHUP'): boolean {
  try {
    const mask = /^SigIgn:\s*([0-9a-f]+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? '0';
    const number = { SIGHUP: 1 }[signal];
    return ((BigInt(`0x${mask}`) >> BigInt(number - 1)) & 1n) === 1n;
  } catch {
    return false;
  }
}

/**
 * Closes the debugger that a SIGUSR1 opened before sae-pipe listened for that signal: anyone who reaches its port can
 * run code here. The signal asked to stop, so the process ends with it. A debugger that the user requested (`node
 * --inspect`) stays open.
 */
export async function closeUnaskedDebugger(): Promise<void> {
  const asked = [...process.execArgv, process.env.NODE_OPTIONS ?? ''].some((words) => words.includes('--inspect'));
  if (asked || !process.features.inspector) return;
  const inspector = await import('node:inspector');
  if (inspector.url() === undefined) return;
  inspector.close();
  endBy('SIGUSR1');
}

/** The message of a stop before anything was changed. */
export const NOTHING_BEGUN = 'nothing was started yet; rerun the same command to start it.';

/**
 * Call before work that cannot be interrupted.
 *
 * @throws Interrupted if a stop was requested
 */
export function throwIfStopped({ signal }: StopRequest, message: string): void {
  if (signal) throw new Interrupted(signal, message);
}

/** Milliseconds between checks of the stop request. */
const LOOK = 100;

/**
 * Resolves with `work`, or rejects as soon as a stop is requested; a late result is discarded. Work that fails after a
 * stop fails because of it: stopping a whole pipe ends the other side too.
 *
 * @param message what is kept on disk, and how to resume
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
 * Passes values through, and ends if a stop is requested while waiting: a text may be read for minutes before it yields
 * anything, and a disk may not respond. Readers check `stop` for why it ended. Closing it closes `source`, but does not
 * wait for a pending value.
 */
export async function* untilStopped<T>(source: AsyncGenerator<T>, stop: StopRequest): AsyncGenerator<T, void> {
  let give: (() => void) | undefined;
  const timer = setInterval(() => {
    if (stop.signal) give?.();
  }, LOOK);
  // While waiting, the awaited operation keeps the process alive.
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

/**
 * Was a stop requested? A signal that arrives during a call that blocks the thread, like ONNX Runtime's, is only
 * delivered by the event loop; code that continues synchronously would start the next call first.
 */
export async function stopRequested(stop: StopRequest): Promise<boolean> {
  await setImmediate();
  return stop.signal !== undefined;
}
