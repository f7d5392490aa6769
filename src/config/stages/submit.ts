import { z } from 'zod';
import { directory, positive } from './shared-flags.js';

/** A value for an sbatch option: no quotes, spaces or characters that a shell or sbatch would split on. */
const word = z
  .string()
  .regex(/^[\w.,:=@/[\]+*|&()-]+$/, 'it contains a space, a quote or another character that is not allowed');

/** Slurm's time formats: minutes, minutes:seconds, hours:minutes:seconds, days-hours[:minutes[:seconds]]. */
const duration = z
  .string()
  .regex(/^(\d+(:[0-5]?\d){0,2}|\d+-\d{1,2}(:[0-5]?\d){0,2})$/, 'write minutes, h:mm:ss or days-hours');

/** `submit`: runs another command as a job of a scheduler. */
export const submitSchema = z.object({
  scheduler: z.enum(['slurm']).describe('the scheduler'),
  command: z
    .array(z.string())
    .optional()
    .describe(
      'after --: harvest, train, sweep, eval, features or report with its flags [default: the jobs of --chain]',
    ),
  chain: directory
    .optional()
    .describe(
      'configuration file of a sweep, to run its harvest, training, evaluation and report as consecutive jobs; its section submit is used as that of --config',
    ),
  partition: word.optional().describe('partition [default: the cluster’s]'),
  gres: word.optional().describe('generic resources per node, such as gpu:1 [default: none]'),
  time: duration
    .optional()
    .describe('time limit per start, as Slurm writes it: 90 (minutes), 4:00:00, 2-0 [default: the partition’s]'),
  cpus: positive
    .optional()
    .describe('processors per task, also the command’s number of threads [default: the cluster’s]'),
  mem: word.optional().describe('memory per node: 64G [default: the cluster’s]'),
  array: positive
    .optional()
    .describe(
      'number of tasks; in the command, {i} is replaced by the task’s number, from 0, and {n} by the number of tasks. Without {i}, the tasks share the work of a harvest or of a sweep’s training (stages.harvest.array in the file divides its harvest)',
    ),
  /** In configuration files only: resources for the jobs of a chain, by stage. */
  stages: z.record(z.string(), z.record(z.string(), z.unknown())).optional().describe('resources per stage of a sweep'),
  sbatch: z.array(z.string()).optional().describe('another option of sbatch: KEY=VALUE, or KEY alone; may be repeated'),
  notice: positive
    .min(10)
    .default(120)
    .describe('seconds before the time limit at which the command saves its work, stops and is requeued'),
  requeue: z
    .boolean()
    .default(true)
    .describe('requeue the job after a time limit, a lost node or preemption; --no-requeue does not'),
  maxRequeues: positive.default(100).describe('maximum number of requeues after a time limit'),
  overwrite: z.boolean().default(false).describe('replace a script of the same name that differs'),
  dryRun: z.boolean().default(false).describe('print the scripts, but write and submit nothing'),
});
export type SubmitConfig = z.output<typeof submitSchema>;
