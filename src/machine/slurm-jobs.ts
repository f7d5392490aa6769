import { askSlurm } from './ask-slurm.js';
import { type SlurmJob, slurmJob } from './scheduler-job.js';

/** States in which nothing of a job runs, and nothing of it will (squeue(1), sacct(1): job state codes). */
const ENDED = [
  ...['BOOT_FAIL', 'CANCELLED', 'COMPLETED', 'DEADLINE', 'FAILED', 'NODE_FAIL'],
  ...['OUT_OF_MEMORY', 'PREEMPTED', 'REVOKED', 'TIMEOUT'],
];
/** Those of them that are not as they should be. */
const FAILED = ENDED.filter((state) => state !== 'COMPLETED' && state !== 'CANCELLED' && state !== 'REVOKED');

/** `CANCELLED by 1000` is CANCELLED. */
const stateOf = (text: string) => text.trim().split(/[ +]/)[0]!;

export const hasEnded = (state: string): boolean => ENDED.includes(state);
export const hasFailed = (state: string): boolean => FAILED.includes(state);

/** How a job stands that something was left by; `unknown` where Slurm does not say, or is not this job's. */
export type JobStanding = 'over' | 'alive' | 'unknown';

/**
 * Is a job over? The controller's word (squeue) counts before the accounting's (sacct), which comes late. A job that
 * the controller does not know any more is over where sacct says so; or, on clusters without accounting, where the job
 * is the caller's own: another user's may only be hidden from them.
 *
 * @param mine is it a job of this user?
 * @param patience milliseconds for each question
 */
export async function jobStanding(
  { cluster, id }: Pick<SlurmJob, 'cluster' | 'id'>,
  mine: boolean,
  patience?: number,
): Promise<JobStanding> {
  // Another cluster may have a job of this number.
  if (cluster === '' || (await clusterHere(patience)) !== cluster) return 'unknown';
  const queue = await askSlurm('squeue', ['--noheader', '--states=all', '--format=%A|%T', `--jobs=${id}`], patience);
  if (queue === undefined) return 'unknown';
  const known = statesOf(id, queue.stdout);
  if (queue.code === 0 && known.length > 0) return known.every(hasEnded) ? 'over' : 'alive';
  const forgotten = queue.code !== 0 && /invalid job id/i.test(queue.stderr);
  if (queue.code !== 0 && !forgotten) return 'unknown';
  const books = await askSlurm(
    'sacct',
    ['--noheader', '--parsable2', '--allocations', '--format=JobIDRaw,State', `--jobs=${id}`],
    patience,
  );
  const recorded = books?.code === 0 ? statesOf(id, books.stdout) : [];
  if (recorded.length > 0) return recorded.every(hasEnded) ? 'over' : 'unknown';
  return forgotten && mine ? 'over' : 'unknown';
}

/** States that lines `number|state` give to job `id`; of an array, each task has a number besides. */
function statesOf(id: string, text: string): string[] {
  const lines = text.split('\n').map((line) => line.split('|'));
  return lines.flatMap(([job, state]) => (job?.trim() === id && state ? [stateOf(state)] : []));
}

/** The cluster whose Slurm is asked here; undefined where that cannot be told. */
async function clusterHere(patience?: number): Promise<string | undefined> {
  const here = slurmJob()?.cluster;
  if (here) return here;
  const answer = await askSlurm('scontrol', ['show', 'config'], patience);
  return /^ClusterName\s*=\s*(\S+)/m.exec(answer?.stdout ?? '')?.[1];
}

/** A job, or a task of an array, as Slurm lists it. */
export interface ListedJob {
  /** As Slurm writes it: 12, or 12_3 of an array. */
  readonly id: string;
  readonly state: string;
  /** `0:0`, or the exit code and the signal; undefined where the job is not over, or it is not said. */
  readonly exit?: string;
  /** The script that was submitted, as it was named; '' where that is not said. */
  readonly script: string;
}

/**
 * What Slurm knows of this user's jobs in its queue, and of the jobs `ids`; empty where there is no Slurm, or it does
 * not answer.
 *
 * @param ids numbers of jobs, without those of tasks
 */
export async function listJobs(ids: readonly string[], patience?: number): Promise<ListedJob[]> {
  const [queue, books] = await Promise.all([
    askSlurm('squeue', ['--noheader', '--array', '--me', '--states=all', '--format=%i|%T|%o'], patience),
    ids.length === 0
      ? undefined
      : askSlurm(
          'sacct',
          ['--noheader', '--parsable2', '--allocations', '--format=JobID,State,ExitCode', `--jobs=${ids.join(',')}`],
          patience,
        ),
  ]);
  const found = new Map<string, ListedJob>();
  for (const [id, state, exit] of fieldsOf(books?.code === 0 ? books.stdout : '')) {
    if (state)
      found.set(id!, { id: id!, state: stateOf(state), script: '', ...(hasEnded(stateOf(state)) && { exit }) });
  }
  for (const [id, state, script = ''] of fieldsOf(queue?.code === 0 ? queue.stdout : '')) {
    if (!state) continue;
    const { exit } = found.get(id!) ?? {};
    const ended = hasEnded(stateOf(state));
    found.set(id!, { id: id!, state: stateOf(state), script, ...(ended && exit !== undefined && { exit }) });
  }
  return [...found.values()];
}

/** Lines of fields between |, of which the first is the number of a job or a task. */
function fieldsOf(text: string): string[][] {
  const lines = text.split('\n').map((line) => line.trim().split('|'));
  return lines.filter(([id]) => /^\d+(_\d+)?$/.test(id ?? ''));
}
