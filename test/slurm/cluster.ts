import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { after, before } from 'node:test';
import { run, sleep } from '../cli/run-program.js';
import { temporaryDirectory } from '../temporary.js';

/** States in which nothing more happens to a job. */
const OVER = ['COMPLETED', 'FAILED', 'CANCELLED', 'TIMEOUT', 'NODE_FAIL', 'OUT_OF_MEMORY'];

/** A Slurm for the tests of a file; its directory. */
export function realSlurm(): string {
  let directory = '';
  // Before the hook that removes the directory, in which the daemons' pids are.
  after(() => void execFileSync('test/slurm/stop.sh', [directory]));
  directory = temporaryDirectory();
  process.env.SLURM_CONF = join(directory, 'slurm.conf');
  before(() => void execFileSync('test/slurm/start.sh', [directory], { stdio: ['ignore', 'ignore', 'inherit'] }));
  return directory;
}

/** Submits; the numbers of the jobs, in their order. */
export async function submitted(...words: string[]): Promise<string[]> {
  const { code, stdout, stderr } = await run('submit', 'slurm', ...words);
  assert.equal(code, 0, stderr);
  return [...stdout.matchAll(/^Job (\d+):/gm)].map((match) => match[1]!);
}

export const slurm = (command: string, ...args: string[]): string => execFileSync(command, args, { encoding: 'utf8' });

/** What `scontrol show job` says of a job: JobState, ExitCode, Restarts, … */
export function jobFields(job: string): Record<string, string> {
  const line = slurm('scontrol', '--oneliner', 'show', 'job', job);
  return Object.fromEntries([...line.matchAll(/(\S+?)=(\S*)/g)].map((match) => [match[1]!, match[2]!]));
}

/** Waits until a condition holds, for minutes if needed. */
export async function until(what: string, holds: () => boolean): Promise<void> {
  for (const end = performance.now() + 600_000; performance.now() < end; await sleep(200)) if (holds()) return;
  assert.fail(`it never came: ${what}`);
}

/** A job's fields once it is over. */
export async function ended(job: string): Promise<Record<string, string>> {
  await until(`the end of job ${job}`, () => OVER.includes(jobFields(job).JobState!));
  return jobFields(job);
}
