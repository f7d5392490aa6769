import { stat } from 'node:fs/promises';
import { dirname, resolve } from 'node:path';
import { shellWord } from '../config/shell-word.js';
import { Refusal } from '../errors/refusal.js';
import { hasEnded, listJobs } from '../machine/slurm-jobs.js';
import { type FoundWork, recognise, standing } from './found-work.js';
import { beginsAnew, isWhole, type Job, type JobScript, jobsOf, scriptsIn, writesTo } from './jobs.js';
import { Owners } from './owners.js';
import { search } from './search.js';
import { sweepWork } from './sweep-work.js';
import type { WorkStatus } from './work.js';

/** The work and jobs in and below directories. */
export interface Status {
  /** In the order of their paths. */
  readonly work: readonly WorkStatus[];
  readonly jobs: readonly Job[];
  /** False if not every directory was searched. */
  readonly complete: boolean;
}

/**
 * The status of the harvests, trainings, sweeps, evaluations and folders of features in and below directories, and of
 * the Slurm jobs that `submit` made for them: from files alone, plus squeue and sacct if available. Changes nothing,
 * and reads neither weights nor rows.
 *
 * @param now milliseconds since 1970
 * @throws Refusal if one is not a directory
 */
export async function statusOf(directories: readonly string[], now = Date.now()): Promise<Status> {
  const owners = new Owners();
  const found = new Map<string, FoundWork>();
  const scripts = new Map<string, JobScript>();
  const inside = new Set<string>();
  let complete = true;
  const roots = directories.map((directory) => resolve(directory));
  for (const root of roots) {
    await requireDirectory(root);
    const visited = await search(root, async (directory, entries) => {
      const files = entries.filter((entry) => entry.isFile()).map(({ name }) => name);
      for (const script of scriptsIn(directory, files)) {
        scripts.set(script.path, script);
        inside.add(script.path);
      }
      const work = await recognise(directory, new Set(files), owners);
      if (work !== undefined) found.set(directory, work);
      return work === undefined || work.kind === 'sweep' ? 'below' : 'skip';
    });
    complete &&= visited;
    await takeScriptsAbove(root, scripts);
  }
  const ids = [...scripts.values()].flatMap(({ logs }) => [...logs.keys()].map((id) => id.split('_')[0]!));
  const listed = scripts.size === 0 ? [] : await listJobs([...new Set(ids)]);
  const known = (await Promise.all([...scripts.values()].map((script) => jobsOf(script, listed)))).flat();
  // Other tasks of a script above concern directories that were not requested.
  const jobs = known.filter((job) => inside.has(job.script) || roots.some((root) => writesTo(job, root)));
  const states = await standings([...found.values()], now);
  const work = await Promise.all(states.map((one) => withJobs(one, jobs, [...scripts.values()])));
  work.sort((a, b) => (a.directory < b.directory ? -1 : 1));
  return { work, jobs: jobs.map((job) => ({ ...job, failed: job.failed && !superseded(job, work) })), complete };
}

async function requireDirectory(path: string): Promise<void> {
  const found = await stat(path).catch(() => undefined);
  if (found?.isDirectory()) return;
  throw new Refusal(
    found ? `${path} is not a directory.` : `The directory ${path} does not exist.`,
    'Give the --out of a command, or a directory that contains several.',
    'status/no-directory',
  );
}

/** Max depth of outputs below an --out: OUT/saes/HOOK/NAME, OUT/HOOK/PART. */
const DEEPEST = 4;

/** Adds the scripts whose jobs write to a directory: they are next to their --out, which may be above it. */
async function takeScriptsAbove(root: string, scripts: Map<string, JobScript>): Promise<void> {
  let above = root;
  for (let level = 0; level < DEEPEST && dirname(above) !== above; level++) {
    above = dirname(above);
    await search(above, (directory, entries) => {
      const files = entries.filter((entry) => entry.isFile()).map(({ name }) => name);
      for (const script of scriptsIn(directory, files)) {
        const ids = ['', ...script.logs.keys()];
        if (ids.some((id) => writesTo({ script: script.path, id }, root))) scripts.set(script.path, script);
      }
      return 'stop';
    });
  }
}

/** Sweeps come last: their status is derived from their parts. */
async function standings(found: readonly FoundWork[], now: number): Promise<WorkStatus[]> {
  const sweeps = found.filter(({ kind }) => kind === 'sweep');
  const sweepOf = (directory: string) => sweeps.find((sweep) => directory.startsWith(`${sweep.directory}/`))?.directory;
  const parts: WorkStatus[] = [];
  for (const one of found.filter(({ kind }) => kind !== 'sweep')) {
    const sweep = sweepOf(one.directory);
    parts.push({ ...(await standing(one, now)), ...ownerOf(one), ...(sweep !== undefined && { sweep }) });
  }
  const whole: WorkStatus[] = [];
  for (const one of sweeps) {
    const below = parts.filter(({ sweep }) => sweep === one.directory);
    whole.push({ ...(await sweepWork(one.directory, one.holder, below)), ...ownerOf(one) });
  }
  return [...parts, ...whole];
}

function ownerOf({ holder }: FoundWork): Pick<WorkStatus, 'owner' | 'checked'> {
  if (holder?.owner === undefined) return {};
  return { owner: holder.owner, checked: holder.state !== 'unknown' };
}

/** For stopped work: is a job for it waiting, or has the last one failed? */
async function withJobs(work: WorkStatus, jobs: readonly Job[], scripts: readonly JobScript[]): Promise<WorkStatus> {
  if (work.state !== 'stopped') return work;
  const own = jobs.filter((job) => writesTo(job, work.directory));
  const alive = own.some(({ state }) => state !== 'UNKNOWN' && !hasEnded(state));
  if (alive) return { ...work, state: 'waiting' };
  const script = scripts.find((one) => isWhole(one) && own.some((job) => job.script === one.path));
  // A script with --overwrite would overwrite in the first start of its next job, too.
  const submittable = script !== undefined && !(await beginsAnew(script));
  const resume = submittable ? `sbatch ${shellWord(script.path)}` : work.resume;
  const failed = own.find((job) => job.failed);
  return {
    ...work,
    ...(resume !== undefined && { resume }),
    ...(failed && { state: 'failed' as const, reason: failureOf(failed) }),
  };
}

const failureOf = ({ id, state, exit, log }: Job) =>
  `job ${id} is ${state}${exit === undefined ? '' : ` (exit ${exit})`}${log === undefined ? '' : `; see ${log}`}`;

/** Has the work of a failed job been finished since? */
function superseded(job: Job, work: readonly WorkStatus[]): boolean {
  const own = work.filter(({ directory }) => writesTo(job, directory));
  return own.length > 0 && own.every(({ state }) => state === 'finished');
}

/** @throws Refusal naming what failed, if anything did */
export function requireNothingFailed({ work, jobs }: Status): void {
  const failed = [
    ...work.filter(({ state }) => state === 'failed').map(({ directory }) => directory),
    ...jobs.filter((job) => job.failed).map(({ id }) => `job ${id}`),
  ];
  if (failed.length === 0) return;
  throw new Refusal(
    `${failed.length === 1 ? 'One piece of work' : `${failed.length} pieces of work`} failed: ${failed.slice(0, 10).join(', ')}${failed.length > 10 ? ', …' : ''}.`,
    'See its log, or the line above, and resume it.',
    'status/failed',
  );
}
