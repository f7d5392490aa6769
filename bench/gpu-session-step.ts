/** One step of a session: a program with a limit, whose last line of JSON is its result. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync } from 'node:fs';
import type { Outcome, SessionLog, StepRecord } from './gpu-session-log.js';

/** What a step requires. */
export type Need = 'provider' | 'engine' | 'peer' | 'sanitizer';

export interface SessionStep {
  readonly name: string;
  readonly part: 1 | 2;
  readonly needs: readonly Need[];
  /** Seconds that it may take. */
  readonly limit: number;
  /** Program and arguments. */
  readonly command: readonly string[];
  /** Another step whose files it reads, and which is run again where they are gone. */
  readonly after?: string;
}

/** Milliseconds from the request to end to the end by force. */
const PATIENCE = 5000;

/** Ends a program and all that it started. */
function endAll(child: ChildProcess, signal: NodeJS.Signals): void {
  try {
    process.kill(-child.pid!, signal);
  } catch {
    // It has ended by itself.
  }
}

/**
 * Runs a step to its end, or to its limit or `stop`, whichever comes first; all it prints is in its log as it prints it.
 */
export async function runStep(
  step: SessionStep,
  limit: number,
  log: SessionLog,
  stop: AbortSignal,
): Promise<StepRecord> {
  const [began, from] = [new Date().toISOString(), performance.now()];
  const path = log.path(step.name);
  const file = openSync(path, 'w');
  const [program, ...args] = step.command;
  // A separate group, so that what it starts ends with it.
  const child = spawn(program!, args, { stdio: ['ignore', file, file], detached: true });
  closeSync(file);
  let reason: Outcome | undefined;
  const end = (outcome: Outcome) => {
    reason ??= outcome;
    endAll(child, 'SIGTERM');
    setTimeout(() => endAll(child, 'SIGKILL'), PATIENCE).unref();
  };
  const timer = setTimeout(() => end('too long'), 1000 * limit);
  const cut = () => end('cut');
  stop.addEventListener('abort', cut);
  const how = await new Promise<string>((resolve) => {
    child.on('error', (error) => resolve(error.message));
    child.on('close', (code, signal) => resolve(code === 0 ? '' : `it ended with ${signal ?? code}`));
  });
  clearTimeout(timer);
  stop.removeEventListener('abort', cut);
  const { result, said } = read(path);
  const outcome = reason ?? (how === '' ? 'done' : 'failed');
  const failed = (result as { error?: string } | null)?.error;
  const seconds = (performance.now() - from) / 1000;
  const record = { step: step.name, began, seconds, result };
  if (outcome === 'done' && failed === undefined) return { ...record, outcome };
  const whys = { 'too long': `it was ended after ${Math.round(limit)} s`, cut: 'the session was ended' } as const;
  const why = failed ?? (outcome === 'too long' || outcome === 'cut' ? whys[outcome] : `${how}: ${said}`);
  return { ...record, outcome: outcome === 'done' ? 'failed' : outcome, why };
}

/** Characters of a step's output that are kept as its result if it printed no JSON. */
const MOST = 4000;

/** The last line of JSON that a step printed, otherwise its output; and the last line of any kind. */
function read(path: string): { result: unknown; said: string } {
  const text = readFileSync(path, 'utf8').trim();
  const lines = text.split('\n');
  const said = lines.at(-1)!;
  for (const line of [...lines].reverse()) {
    if (!line.startsWith('{')) continue;
    try {
      return { result: JSON.parse(line) as unknown, said };
    } catch {
      // A line that only looks like it.
    }
  }
  return { result: text === '' ? null : text.slice(-MOST), said };
}
