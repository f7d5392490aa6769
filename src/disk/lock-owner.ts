import { randomBytes } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname, userInfo } from 'node:os';
import { basename } from 'node:path';
import { z } from 'zod';
import { endsWithJob, slurmJob } from '../machine/scheduler-job.js';
import { type JobStanding, jobStanding } from '../machine/slurm-jobs.js';

/**
 * A process as a lock names it. Nothing of it is a time to be compared: clocks go back and differ between machines.
 * `since` is for people; `started` counts from the machine's own start.
 */
export const ownerSchema = z.object({
  /** Of this one claim, never used again. */
  id: z.string().regex(/^[0-9a-f]{32}$/),
  host: z.string().min(1),
  /** Linux: the installation, its run since it was last started, and the process's pid namespace; '' elsewhere. */
  machine: z.string(),
  boot: z.string(),
  namespace: z.string(),
  pid: z.number().int().positive(),
  /** Start of the process in clock ticks since the machine's; '' where there is no /proc. */
  started: z.string(),
  user: z.string(),
  /** The command's name, without its flags. */
  command: z.string(),
  /** Its flags and the working directory that they were given in, where they are not very long. */
  given: z.object({ directory: z.string(), words: z.array(z.string()) }).optional(),
  since: z.string(),
  /** The Slurm job that it ran in, on a node of it, and which of the job's starts that was. */
  job: z.object({ cluster: z.string(), id: z.string(), restarts: z.number().int().nonnegative() }).optional(),
});
export type Owner = z.infer<typeof ownerSchema>;

/** Pid namespace of processes in no container (the kernel's PROC_PID_INIT_INO). */
const OUTSIDE_CONTAINERS = 'pid:[4026531836]';

const HERE = {
  host: hostname(),
  machine: firstLine('/etc/machine-id'),
  boot: firstLine('/proc/sys/kernel/random/boot_id'),
  namespace: pidNamespace(),
};

/** This process, about to claim something. */
export function thisProcess(): Owner {
  const [program = 'node', command = '', ...words] = process.argv.slice(1);
  return {
    id: randomBytes(16).toString('hex'),
    ...HERE,
    pid: process.pid,
    started: statusOf(process.pid)?.started ?? '',
    user: userName(),
    command: `${basename(program, '.js')} ${command}`.trim(),
    ...givenTo(program, words),
    since: new Date().toISOString(),
    ...jobOfLock(),
  };
}

/** Characters of flags that a lock names, at most: half of what a lock may have. */
const LONGEST_FLAGS = 32_768;

function givenTo(program: string, words: string[]): Pick<Owner, 'given'> {
  const ours = basename(program, '.js') === 'sae-pipe';
  return ours && JSON.stringify(words).length <= LONGEST_FLAGS ? { given: { directory: process.cwd(), words } } : {};
}

function jobOfLock(): Pick<Owner, 'job'> {
  const job = slurmJob();
  // Of any other process, the end of the job tells nothing.
  if (job === undefined || !endsWithJob()) return {};
  return { job: { cluster: job.cluster, id: job.id, restarts: job.restarts } };
}

/** Is it of an earlier start of the Slurm job that runs here? Slurm starts a job again only once it has ended. */
function ranBeforeRequeue({ job }: Owner): boolean {
  const now = slurmJob();
  if (job === undefined || now === undefined) return false;
  return job.id === now.id && job.cluster === now.cluster && job.restarts < now.restarts;
}

/** What Slurm says of the job that an owner ran in, where it ran in one. */
export function jobOfOwner({ job, user }: Owner): Promise<JobStanding> {
  return job === undefined ? Promise.resolve('unknown') : jobStanding(job, user === userName());
}

/** The owner for people: command, pid, user, host and time. */
export function describeOwner({ pid, user, host, command, since }: Owner): string {
  return `\`${command}\` (pid ${pid} of ${user} on ${host}, since ${since})`;
}

/** Where an owner of unknown standing is, for people. */
export function whereabouts({ host, machine, boot }: Owner): string {
  if (host !== HERE.host) return 'on another machine';
  if (machine !== HERE.machine) return 'on another machine or in another container of this name';
  return boot === HERE.boot
    ? 'in another container, or in this one before it was restarted'
    : 'in a container, before the machine was restarted';
}

/** Is the process there? `unknown` where that cannot be told from here. */
export function ownerState(owner: Owner): 'running' | 'gone' | 'unknown' {
  const state = stateFromHere(owner);
  return state === 'unknown' && ranBeforeRequeue(owner) ? 'gone' : state;
}

function stateFromHere(owner: Owner): 'running' | 'gone' | 'unknown' {
  if (owner.host !== HERE.host || owner.machine !== HERE.machine) return 'unknown';
  if (owner.boot !== HERE.boot) {
    // The machine was started anew. Containers of one image share a machine-id, and may share a name.
    const known = owner.machine !== '' && [owner.namespace, HERE.namespace].every((ns) => ns === OUTSIDE_CONTAINERS);
    return known ? 'gone' : 'unknown';
  }
  if (owner.namespace !== HERE.namespace) return 'unknown';
  return isRunning(owner) ? 'running' : 'gone';
}

/**
 * Does a process of this machine and this pid namespace run?
 *
 * @param started as in a lock; '' where it is not known, and a number given to another process since counts as running
 */
export function isRunning({ pid, started }: Pick<Owner, 'pid' | 'started'>): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // Another user's process is one.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  const status = statusOf(pid);
  if (!status) return true;
  // It only waits for its parent to hear of its end.
  if (status.state === 'Z' || status.state === 'X') return false;
  // Else the number was given to another process since.
  return started === '' || status.started === started;
}

/** Fields 3 and 22 of /proc/PID/stat (proc_pid_stat(5)); undefined where they may not be seen. */
function statusOf(pid: number): { state: string; started: string } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // Field 2 is the program's name in parentheses, and may hold any character.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { state: fields[0]!, started: fields[19]! };
  } catch {
    return undefined;
  }
}

function firstLine(path: string): string {
  try {
    return readFileSync(path, 'utf8').split('\n')[0]!;
  } catch {
    return '';
  }
}

/** The pid namespace of this process, which its pid means nothing outside of; '' where there is no /proc. */
export function pidNamespace(): string {
  try {
    return readlinkSync('/proc/self/ns/pid');
  } catch {
    return '';
  }
}

function userName(): string {
  try {
    return userInfo().username;
  } catch {
    // A container's user may have no name.
    return String(process.getuid?.() ?? 'unknown');
  }
}
