import { askSlurm } from './ask-slurm.js';
import { type SlurmJob, slurmJob } from './scheduler-job.js';

/** Final states: nothing of the job is running or will run (squeue(1), sacct(1): job state codes). */
const ENDED = [
  ...['BOOT_FAIL', 'CANCELLED', 'COMPLETED', 'DEADLINE', 'FAILED', 'NODE_FAIL'],
  ...['OUT_OF_MEMORY', 'PREEMPTED', 'REVOKED', 'TIMEOUT'],
];
/** The final states that mean failure. */
const FAILED = ENDED.filter((state) => state !== 'COMPLETED' && state !== 'CANCELLED' && state !== 'REVOKED');

/** `CANCELLED by 1000` is CANCELLED. */
const stateOf = (text: string) => text.trim().split(/[ +]/)[0]!;

export const hasEnded = (state: string): boolean => ENDED.includes(state);
export const hasFailed = (state: string): boolean => FAILED.includes(state);

/** State of a job; `unknown` if Slurm does not say, or it is not this cluster's job. */
export type JobState = 'over' | 'alive' | 'unknown';

/**
 * Is a job over? The controller (squeue) takes precedence over accounting (sacct), which lags. A job unknown to the
 * controller is over if sacct says so; or, on clusters without accounting, if it is the caller's own: another user's
 * may just be hidden.
 *
 * @param mine whether it is this user's job
 * @param patience timeout per query, in milliseconds
 */
export async function jobState(
  { cluster, id }: Pick<SlurmJob, 'cluster' | 'id'>,
  mine: boolean,
  patience?: number,
): Promise<JobState> {
  // Another cluster may have a job with this number.
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

/** States of job `id` in lines of `number|state`; array tasks have an additional number. */
function statesOf(id: string, text: string): string[] {
  const lines = text.split('\n').map((line) => line.split('|'));
  return lines.flatMap(([job, state]) => (job?.trim() === id && state ? [stateOf(state)] : []));
}

/** The cluster whose Slurm is queried here; undefined if unknown. */
async function clusterHere(patience?: number): Promise<string | undefined> {
  const here = slurmJob()?.cluster;
  if (here) return here;
  const answer = await askSlurm('scontrol', ['show', 'config'], patience);
  return /^ClusterName\s*=\s*(\S+)/m.exec(answer?.stdout ?? '')?.[1];
}

/** A job or array task as listed by Slurm. */
export interface ListedJob {
  /** In Slurm's notation: 12, or 12_3 for an array task. */
  readonly id: string;
  readonly state: string;
  /** `0:0`, or exit code and signal; undefined if the job is not over, or unknown. */
  readonly exit?: string;
  /** The submitted script, as it was named; '' if unknown. */
  readonly script: string;
}

/**
 * This user's queued jobs, and the jobs `ids`; empty without Slurm, or if it does not respond.
 *
 * @param ids job numbers, without those of tasks
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

/** Fields of `|`-separated lines, the first of which is the number of a job or task. */
function fieldsOf(text: string): string[][] {
  const lines = text.split('\n').map((line) => line.trim().split('|'));
  return lines.filter(([id]) => /^\d+(_\d+)?$/.test(id ?? ''));
}
