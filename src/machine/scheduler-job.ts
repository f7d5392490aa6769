/** What Slurm says of the job that this process runs in. */
export interface SlurmJob {
  readonly id: string;
  readonly cluster: string;
  /** How often it was put back into the queue and begun again. */
  readonly restarts: number;
  /** Processors of this task on this node, where Slurm says so. */
  readonly cores: number | undefined;
  /** Bytes of this job on this node; undefined where it has no limit. */
  readonly memory: number | undefined;
}

/**
 * The job as its environment tells. On clusters without control groups nothing holds a task to its share of a node, and
 * the system tells of the whole node.
 *
 * @returns undefined outside a job
 */
export function slurmJob(environment: NodeJS.ProcessEnv = process.env): SlurmJob | undefined {
  const count = (name: string): number | undefined => {
    const text = environment[name];
    return text !== undefined && /^\d{1,12}$/.test(text) && Number(text) > 0 ? Number(text) : undefined;
  };
  const id = environment.SLURM_JOB_ID;
  if (id === undefined || !/^\d+$/.test(id)) return undefined;
  const cores = count('SLURM_CPUS_PER_TASK') ?? count('SLURM_CPUS_ON_NODE');
  const perCpu = count('SLURM_MEM_PER_CPU');
  const all = count('SLURM_CPUS_ON_NODE') ?? cores;
  const mebibytes = count('SLURM_MEM_PER_NODE') ?? (perCpu && all && perCpu * all);
  return {
    id,
    cluster: environment.SLURM_CLUSTER_NAME ?? '',
    restarts: count('SLURM_RESTART_COUNT') ?? 0,
    cores,
    memory: mebibytes === undefined ? undefined : mebibytes * 2 ** 20,
  };
}

/**
 * Does this process end with its job? Slurm ends what it has started on a node. A shell of salloc on the login node has
 * the variables of its job, too, and so has what was begun in it (tmux) long after the job is over.
 */
export const endsWithJob = (environment: NodeJS.ProcessEnv = process.env): boolean =>
  (environment.SLURMD_NODENAME ?? '') !== '';

/** The task of an array that this process is: its number, and how many there are where that is told. */
export interface ArrayTask {
  readonly index: number;
  readonly of: number | undefined;
  /** What told it. */
  readonly scheduler: 'Slurm' | 'Kubernetes';
}

/**
 * The task as its environment tells: of an array of Slurm, or an indexed job of Kubernetes, which does not tell how many
 * there are. Neither does Slurm of an array that is not 0 to n − 1: a few tasks that are submitted again are one.
 *
 * @returns undefined outside of both
 */
export function arrayTask(environment: NodeJS.ProcessEnv = process.env): ArrayTask | undefined {
  const number = (name: string): number | undefined => {
    const text = environment[name];
    return text !== undefined && /^\d{1,9}$/.test(text) ? Number(text) : undefined;
  };
  const slurm = number('SLURM_ARRAY_TASK_ID');
  if (slurm !== undefined) {
    const count = number('SLURM_ARRAY_TASK_COUNT');
    const isWhole = number('SLURM_ARRAY_TASK_MIN') === 0 && number('SLURM_ARRAY_TASK_MAX') === (count ?? 0) - 1;
    return { index: slurm, of: isWhole ? count : undefined, scheduler: 'Slurm' };
  }
  const index = number('JOB_COMPLETION_INDEX');
  return index === undefined ? undefined : { index, of: undefined, scheduler: 'Kubernetes' };
}
