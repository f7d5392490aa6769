import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import { setImmediate } from 'node:timers/promises';
import { Interrupted, STOP_SIGNALS, type StopSignal } from '../errors/refusal.js';
import type { Progress, StopRequest } from './progress.js';

/**
 * Signals by which somebody insists. Of the others, one stop may send several: a closed terminal and its shell both
 * send SIGHUP, SIGXCPU comes every second, and Slurm sends SIGTERM after the signal of its warning.
 */
const INSISTENT: readonly StopSignal[] = ['SIGINT', 'SIGTERM', 'SIGQUIT'];

/**
 * Milliseconds within which a signal that comes again is the same: npx hands Ctrl-C on to a command that the terminal
 * has told already.
 */
const SAME = 250;

/** Decides what a signal means: the first asks to stop, one that insists after that ends the process at once. */
export class StopSignals implements StopRequest {
  signal: StopSignal | undefined;
  private insisted: { signal: StopSignal; at: number } | undefined;

  /**
   * @param now milliseconds of a clock that only goes forward
   * @returns whether the process is to stop in order, to end at once, or neither, since it is stopping
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
 * Listens for the signals that ask to stop; from here on none of them ends the process by itself.
 *
 * @returns what the stages ask between steps
 */
export function watchSignals(progress: Progress): StopRequest {
  const stop = new StopSignals();
  for (const signal of STOP_SIGNALS) {
    const ignored = signal === 'SIGHUP' && hangupIsIgnored();
    const before = process.listeners(signal);
    process.on(signal, () => {
      if (ignored) return;
      const answer = stop.receive(signal, performance.now());
      if (answer === 'stop') progress.say(`${signal}: finishing what is under way (once more: stop at once)`);
      if (answer === 'end') endBy(signal);
    });
    // After the new one, so that the signal is listened for all the time.
    for (const listener of before) process.removeListener(signal, listener);
  }
  return stop;
}

/** Ends the process by the signal itself: process.exit would end worker threads within ONNX Runtime, and abort. */
function endBy(signal: NodeJS.Signals): void {
  process.removeAllListeners(signal);
  process.kill(process.pid, signal);
}

/**
 * Was the program started so that it outlives its terminal (nohup)? Node resets what it was started with, so this is
 * told from what nohup leaves behind: the shell's variable `_`, and a parent that ignores the signal, as a shell script
 * that was itself started by nohup does.
 */
export function hangupIsIgnored(environment: NodeJS.ProcessEnv = process.env, parent: number = process.ppid): boolean {
  return basename(environment._ ?? '') === 'nohup' || ignores(parent, 'SIGHUP') || ignores('self', 'SIGHUP');
}

/** Does a process ignore a signal? Linux only; elsewhere it cannot be told. */
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
 * Closes the debugger that a SIGUSR1 has opened before this program listened for that signal: anybody who reaches its
 * port can run code here. The signal asked to stop, so the process ends by it. A debugger that the user asked for
 * (`node --inspect`) stays.
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
 * Resolves with `work`, or rejects as soon as a stop is asked for; a late result is discarded. Work
 * that fails after that fails because of it: a stop of a whole pipe ends the other side too.
 *
 * @param message what is kept, and how to resume
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

/**
 * Was a stop asked for? A signal that came during a call that occupies the thread, as ONNX Runtime's are, is delivered
 * by the event loop only; what follows such a call at once would begin the next one first.
 */
export async function heard(stop: StopRequest): Promise<boolean> {
  await setImmediate();
  return stop.signal !== undefined;
}
