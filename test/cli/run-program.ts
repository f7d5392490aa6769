import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';

export interface Outcome {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** Starts the program as a user would. */
export const start = (...args: string[]) => startIn({}, ...args);

/** The same with some variables of the environment changed. */
export function startIn(
  environment: Record<string, string>,
  ...args: string[]
): { child: ChildProcess; outcome: Promise<Outcome> } {
  const child = spawn(process.execPath, ['bin/sae-pipe.js', ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, ...environment },
  });
  let [stdout, stderr] = ['', ''];
  child.stdout.on('data', (data) => {
    stdout += data;
  });
  child.stderr.on('data', (data) => {
    stderr += data;
  });
  const outcome = once(child, 'close').then(([code, signal]) => ({ code, signal, stdout, stderr }) as Outcome);
  return { child, outcome };
}

export const run = (...args: string[]): Promise<Outcome> => start(...args).outcome;

export const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
