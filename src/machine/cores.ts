import { availableParallelism } from 'node:os';
import { type SlurmJob, slurmJob } from './scheduler-job.js';

/**
 * Number of threads to compute with: the processors available to this process, limited by what a Slurm job was
 * allocated.
 */
export function cores(available: number = availableParallelism(), job: SlurmJob | undefined = slurmJob()): number {
  return Math.max(1, Math.min(available, job?.cores ?? available));
}
