import { readFileSync } from 'node:fs';
import { basename } from 'node:path';
import type { Progress, StopRequest } from '../progress/progress.js';
import { STOP_SIGNALS, type StopSignal } from '../progress/stop-signals.js';

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
export function endBy(signal: NodeJS.Signals): void {
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
