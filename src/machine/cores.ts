import { availableParallelism } from 'node:os';
import { type SlurmJob, slurmJob } from './scheduler-job.js';

/** Threads that compute at once: the processors this process may use, and of those what a Slurm job asked for. */
export function cores(available: number = availableParallelism(), job: SlurmJob | undefined = slurmJob()): number {
  return Math.max(1, Math.min(available, job?.cores ?? available));
}
