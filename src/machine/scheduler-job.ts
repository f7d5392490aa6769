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
