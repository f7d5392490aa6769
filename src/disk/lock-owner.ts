import { randomBytes } from 'node:crypto';
import { readFileSync, readlinkSync } from 'node:fs';
import { hostname, userInfo } from 'node:os';
import { basename } from 'node:path';
import { z } from 'zod';
import { endsWithJob, slurmJob } from '../machine/scheduler-job.js';
import { type JobState, jobState } from '../machine/slurm-jobs.js';

/**
 * A process as identified by a lock. No timestamps are compared: clocks are set back and differ between machines.
 * `since` is only displayed; `started` counts from boot.
 */
export const ownerSchema = z.object({
  /** Unique to this claim; never reused. */
  id: z.string().regex(/^[0-9a-f]{32}$/),
  host: z.string().min(1),
  /** Linux: machine id, boot id and pid namespace of the process; '' elsewhere. */
  machine: z.string(),
  boot: z.string(),
  namespace: z.string(),
  pid: z.number().int().positive(),
  /** Start time of the process in clock ticks since boot; '' without /proc. */
  started: z.string(),
  user: z.string(),
  /** The command's name, without its flags. */
  command: z.string(),
  /** Its flags and the working directory that they were given in, where they are not very long. */
  given: z.object({ directory: z.string(), words: z.array(z.string()) }).optional(),
  since: z.string(),
  /** The Slurm job it ran in, if on one of its nodes, and the job's restart count. */
  job: z.object({ cluster: z.string(), id: z.string(), restarts: z.number().int().nonnegative() }).optional(),
});
export type Owner = z.infer<typeof ownerSchema>;

/** Initial pid namespace: not in a container (the kernel's PROC_PID_INIT_INO). */
const OUTSIDE_CONTAINERS = 'pid:[4026531836]';

const THIS_MACHINE = {
  host: hostname(),
  machine: firstLine('/etc/machine-id'),
  boot: firstLine('/proc/sys/kernel/random/boot_id'),
  namespace: pidNamespace(),
};

/** This process as the owner of a new lock. */
export function thisProcess(): Owner {
  const [program = 'node', command = '', ...words] = process.argv.slice(1);
  return {
    id: randomBytes(16).toString('hex'),
    ...THIS_MACHINE,
    pid: process.pid,
    started: statusOf(process.pid)?.started ?? '',
    user: userName(),
    command: `${basename(program, '.js')} ${command}`.trim(),
    ...givenTo(program, words),
    since: new Date().toISOString(),
    ...jobOfLock(),
  };
}

/** Max bytes of flags in a lock: half of what a lock may have. */
const LONGEST_FLAGS = 32_768;

function givenTo(program: string, words: string[]): Pick<Owner, 'given'> {
  const ours = basename(program, '.js') === 'sae-pipe';
  const short = Buffer.byteLength(JSON.stringify(words)) <= LONGEST_FLAGS;
  return ours && short ? { given: { directory: process.cwd(), words } } : {};
}

function jobOfLock(): Pick<Owner, 'job'> {
  const job = slurmJob();
  // For any other process, the end of the job is not its end.
  if (job === undefined || !endsWithJob()) return {};
  return { job: { cluster: job.cluster, id: job.id, restarts: job.restarts } };
}

/** Does it belong to an earlier start of the current Slurm job? Slurm restarts a job only once it has ended. */
function ranBeforeRequeue({ job }: Owner): boolean {
  const now = slurmJob();
  if (job === undefined || now === undefined) return false;
  return job.id === now.id && job.cluster === now.cluster && job.restarts < now.restarts;
}

/** Slurm's state of the job that an owner ran in, if it did. */
export function jobOfOwner({ job, user }: Owner): Promise<JobState> {
  return job === undefined ? Promise.resolve('unknown') : jobState(job, user === userName());
}

/** The owner for people: command, pid, user, host and time. */
export function describeOwner({ pid, user, host, command, since }: Owner): string {
  return `\`${command}\` (pid ${pid} of ${user} on ${host}, since ${since})`;
}

/** Where an owner that cannot be checked ran, for people. */
export function whereabouts({ host, machine, boot }: Owner): string {
  if (host !== THIS_MACHINE.host) return 'on another machine';
  if (machine !== THIS_MACHINE.machine) return 'on another machine or in another container of this name';
  return boot === THIS_MACHINE.boot
    ? 'in another container, or in this one before it was restarted'
    : 'in a container, before the machine was restarted';
}

/** Is the process running? `unknown` if that cannot be determined from this machine or container. */
export function ownerState(owner: Owner): 'running' | 'gone' | 'unknown' {
  const state = stateFromHere(owner);
  return state === 'unknown' && ranBeforeRequeue(owner) ? 'gone' : state;
}

function stateFromHere(owner: Owner): 'running' | 'gone' | 'unknown' {
  if (owner.host !== THIS_MACHINE.host || owner.machine !== THIS_MACHINE.machine) return 'unknown';
  if (owner.boot !== THIS_MACHINE.boot) {
    // The machine was rebooted. Containers of one image share a machine-id, and may share a host name.
    const known =
      owner.machine !== '' && [owner.namespace, THIS_MACHINE.namespace].every((ns) => ns === OUTSIDE_CONTAINERS);
    return known ? 'gone' : 'unknown';
  }
  if (owner.namespace !== THIS_MACHINE.namespace) return 'unknown';
  return isRunning(owner) ? 'running' : 'gone';
}

/**
 * Is the process running, on this machine and in this pid namespace?
 *
 * @param started as in a lock; '' if unknown, in which case a reused pid counts as running
 */
export function isRunning({ pid, started }: Pick<Owner, 'pid' | 'started'>): boolean {
  try {
    process.kill(pid, 0);
  } catch (error) {
    // EPERM: another user's process has this pid.
    if ((error as NodeJS.ErrnoException).code !== 'EPERM') return false;
  }
  const status = statusOf(pid);
  if (!status) return true;
  // Zombie: it only waits for its parent.
  if (status.state === 'Z' || status.state === 'X') return false;
  // Otherwise the pid was reused since.
  return started === '' || status.started === started;
}

/** Fields 3 and 22 of /proc/PID/stat (proc_pid_stat(5)); undefined if not readable. */
function statusOf(pid: number): { state: string; started: string } | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // Field 2 is the program's name in parentheses, and may contain any character.
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

/** The pid namespace of this process, outside of which its pid is meaningless; '' without /proc. */
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
