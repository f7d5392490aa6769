/**
 * A session on a GPU machine that is borrowed for a quarter of an hour and has no network: everything in this project that
 * needs a GPU, most informative first, each step within a limit and its result written when it ends, so that a session
 * that is cut short leaves its results so far.
 *
 *     bash scripts/gpu-session.sh [--part 1|2] [--out gpu-session] [--seconds 570] [--directory DIR] [--only STEP,...]
 *                                 [--rehearse] [--list]
 *
 * --part 1 checks everything and times training steps next to PyTorch's; 2 runs complete stages at the paper's
 * sizes. Without it, both, as far as --seconds go; the same command again does what is not done yet. --rehearse runs
 * all of it on a CPU, small, the CUDA engine on the CPU emulation of its tests. Results go to OUT/session.jsonl
 * and OUT/summary.md, and what each step printed to OUT/STEP.log. Exits 0 where every step that could run is done, 1
 * where one is not, 2 for a wrong flag, 3 where nothing can run.
 */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { Refusal, UsageRefusal } from '../src/errors/refusal.js';
import { type Outcome, SessionLog, SUMMARY } from './gpu-session-log.js';
import { missing } from './gpu-session-needs.js';
import { sessionSteps } from './gpu-session-plan.js';
import { runStep, type SessionStep } from './gpu-session-step.js';

/** A step is not begun with less than this left of the session, in seconds. */
const LEAST = 5;

const wrong = (sentence: string, remedy?: string) => new UsageRefusal(sentence, remedy, 'config/wrong-value');

function parsed() {
  try {
    return parseArgs({
      options: {
        part: { type: 'string' },
        out: { type: 'string', default: 'gpu-session' },
        seconds: { type: 'string', default: '570' },
        directory: { type: 'string', default: tmpdir() },
        only: { type: 'string' },
        rehearse: { type: 'boolean', default: false },
        list: { type: 'boolean', default: false },
      },
    }).values;
  } catch (error) {
    throw new UsageRefusal((error as Error).message, undefined, 'config/unknown-flag');
  }
}

function readFlags() {
  const flags = parsed();
  if (flags.part !== undefined && !['1', '2'].includes(flags.part))
    throw wrong(`There is no part ${flags.part}.`, 'Use 1 or 2.');
  const seconds = Number(flags.seconds);
  if (!(seconds > 0)) throw wrong('--seconds must be a number above 0.');
  return { ...flags, seconds, only: flags.only?.split(',') };
}

async function main(): Promise<number> {
  const begun = performance.now();
  const flags = readFlags();
  const python = process.env.SAE_PIPE_BENCH_PYTHON ?? 'python3';
  mkdirSync(flags.directory, { recursive: true });
  const absent = await missing(flags.rehearse, python, flags.directory);
  const directory = mkdtempSync(join(flags.directory, 'gpu-session-'));
  process.on('exit', () => rmSync(directory, { recursive: true, force: true }));
  const all = sessionSteps({ rehearsal: flags.rehearse, directory, python, peer: !absent.has('peer') });
  const unknown = flags.only?.find((name) => !all.some((step) => step.name === name));
  if (unknown !== undefined) {
    throw wrong(`There is no step "${unknown}".`, `Use ${all.map(({ name }) => name).join(', ')}.`);
  }
  const chosen = all.filter(
    ({ name, part }) =>
      (flags.part === undefined || Number(flags.part) === part) && (flags.only?.includes(name) ?? true),
  );
  if (flags.list) {
    for (const { name, part, limit, needs } of chosen)
      console.log([name, part, `${limit} s`, needs.join(' ')].join('\t'));
    return 0;
  }
  for (const sentence of absent.values()) console.error(sentence);
  if (absent.has('provider') && absent.has('engine')) return 3;
  return run(chosen, all, absent, { log: new SessionLog(flags.out), until: begun + 1000 * flags.seconds });
}

interface Session {
  readonly log: SessionLog;
  /** When it ends, by performance.now(). */
  readonly until: number;
}

async function run(
  chosen: readonly SessionStep[],
  all: readonly SessionStep[],
  absent: ReadonlyMap<string, string>,
  { log, until }: Session,
): Promise<number> {
  const stop = new AbortController();
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => stop.abort());
  /** How the steps of this session ended; files of those that are done are there. */
  const ran = new Map<string, Outcome>();
  let undone = 0;
  const leftOut = (step: string, why: string) => {
    log.append({ step, outcome: 'left out', began: new Date().toISOString(), seconds: 0, result: null, why });
    console.error(`${step}: left out, ${why}`);
  };
  const perform = async (step: SessionStep): Promise<boolean> => {
    const left = (until - performance.now()) / 1000;
    if (left < LEAST) {
      leftOut(step.name, 'no time was left');
      return false;
    }
    console.error(`${step.name} ...`);
    const record = await runStep(step, Math.min(step.limit, left), log, stop.signal);
    log.append(record);
    console.error(
      `${step.name}: ${record.outcome}, ${record.seconds.toFixed(1)} s${record.why ? `, ${record.why}` : ''}`,
    );
    ran.set(step.name, record.outcome);
    return record.outcome === 'done';
  };
  for (const step of chosen) {
    if (stop.signal.aborted) break;
    if (log.isDone(step.name) || ran.has(step.name)) continue;
    const need = step.needs.find((one) => absent.has(one));
    if (need !== undefined) {
      leftOut(step.name, absent.get(need)!);
      continue;
    }
    const before = all.find(({ name }) => name === step.after);
    const known = before && ran.get(before.name);
    // What has failed once is not tried for each step that needs it.
    const ready = before === undefined || known === 'done' || (known === undefined && (await perform(before)));
    if (!ready) leftOut(step.name, `${step.after} is not done`);
    if (!ready || !(await perform(step))) undone++;
  }
  console.error(`results: ${join(log.directory, SUMMARY)}`);
  return stop.signal.aborted ? 143 : Number(undone > 0);
}

try {
  process.exitCode = await main();
} catch (error) {
  if (!(error instanceof Refusal)) throw error;
  console.error([error.message, error.remedy].filter(Boolean).join(' '));
  process.exitCode = error.exitCode;
}
