/** The Slurm job that this process runs in. */
export interface SlurmJob {
  readonly id: string;
  readonly cluster: string;
  /** Number of times it was requeued and restarted. */
  readonly restarts: number;
  /** Processors of this task on this node, if given. */
  readonly cores: number | undefined;
  /** Memory of this job on this node in bytes; undefined if unlimited. */
  readonly memory: number | undefined;
}

/**
 * The job as described by the environment. On clusters without control groups, nothing restricts a task to its share of
 * a node, and the system reports the entire node.
 *
 * @returns undefined outside of a job
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
 * Does this process end with its job? Slurm kills what it has started on a node. A shell of salloc on the login node
 * also has its job's variables, and so does anything started in it (tmux), long after the job is over.
 */
export const endsWithJob = (environment: NodeJS.ProcessEnv = process.env): boolean =>
  (environment.SLURMD_NODENAME ?? '') !== '';

/** The array task that this process is: its number, and the number of tasks if known. */
export interface ArrayTask {
  readonly index: number;
  readonly of: number | undefined;
  /** Which scheduler it is. */
  readonly scheduler: 'Slurm' | 'Kubernetes';
}

/**
 * The task as described by the environment: of a Slurm array, or an indexed Kubernetes job, which does not give the
 * number of tasks. Slurm's is not usable either if the array is not 0 to n − 1: resubmitted tasks form such an array.
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
