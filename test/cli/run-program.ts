import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

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

/** One side of a pipe: its process id once it runs, and what it says on standard error. */
export interface Side {
  readonly pid: () => Promise<number>;
  readonly stderr: () => string;
}

/**
 * Joins two commands of the program by a pipe of the shell, as a user would.
 *
 * @param directory an empty one, for what both say
 * @returns exit codes of both once both have ended; 128 + n where signal n ended one
 */
export function startPipe(
  directory: string,
  left: readonly string[],
  right: readonly string[],
): { left: Side; right: Side; codes: Promise<number[]> } {
  const quoted = (args: readonly string[]) => args.map((arg) => `'${arg.replaceAll("'", "'\\''")}'`).join(' ');
  const side = (name: string, args: readonly string[]) =>
    `(echo $BASHPID > ${name}.pid; exec 2> ${name}.err; cd "$PROJECT"; exec ${quoted([process.execPath, 'bin/sae-pipe.js', ...args])})`;
  const script = `${side('left', left)} | ${side('right', right)} > right.out; echo "\${PIPESTATUS[@]}"`;
  const shell = spawn('bash', ['-c', script], {
    // The shell's own remarks on commands that were killed are not the program's.
    stdio: ['ignore', 'pipe', 'ignore'],
    cwd: directory,
    env: { ...process.env, PROJECT: process.cwd() },
  });
  let stdout = '';
  shell.stdout.on('data', (data) => {
    stdout += data;
  });
  const codes = once(shell, 'close').then(() => stdout.trim().split(' ').map(Number));
  const read = (file: string) => (existsSync(join(directory, file)) ? readFileSync(join(directory, file), 'utf8') : '');
  const of = (name: string): Side => ({
    stderr: () => read(`${name}.err`),
    pid: async () => {
      while (read(`${name}.pid`) === '') await sleep(5);
      return Number(read(`${name}.pid`));
    },
  });
  return { left: of('left'), right: of('right'), codes };
}
