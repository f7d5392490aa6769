import { z } from 'zod';
import { directory, positive } from './shared-flags.js';

/** One word of an option of sbatch: no quotes, no spaces, nothing that a shell or sbatch would take apart. */
const word = z
  .string()
  .regex(/^[\w.,:=@/[\]+*|&()-]+$/, 'it has a space, a quote or another character that is not sent');

/** Slurm's ways to write a time: minutes, minutes:seconds, hours:minutes:seconds, days-hours[:minutes[:seconds]]. */
const duration = z
  .string()
  .regex(/^(\d+(:[0-5]?\d){0,2}|\d+-\d{1,2}(:[0-5]?\d){0,2})$/, 'write minutes, h:mm:ss or days-hours');

/** `submit`: another command as a job of a scheduler. */
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
      'configuration file of a sweep: its harvest, training, evaluation and report, each a job after the last; its section submit counts as that of --config',
    ),
  partition: word.optional().describe('partition [default: the cluster’s]'),
  gres: word.optional().describe('what a job needs besides processors, such as gpu:1 [default: nothing]'),
  time: duration
    .optional()
    .describe('limit on time of one start, as Slurm writes it: 90 (minutes), 4:00:00, 2-0 [default: the partition’s]'),
  cpus: positive
    .optional()
    .describe('processors of a task; the command takes as many threads [default: the cluster’s]'),
  mem: word.optional().describe('memory of a node: 64G [default: the cluster’s]'),
  array: positive
    .optional()
    .describe(
      'as many tasks: {i} in the words of the command is the number of the task from 0 on, {n} how many there are; of a sweep they share the training, between its harvest and its evaluation',
    ),
  /** In the file only: resources of the jobs of a chain, by stage. */
  stages: z
    .record(z.string(), z.record(z.string(), z.unknown()))
    .optional()
    .describe('resources of single stages of a sweep'),
  sbatch: z.array(z.string()).optional().describe('another option of sbatch: KEY=VALUE, or KEY alone; may be repeated'),
  notice: positive
    .min(10)
    .default(120)
    .describe('seconds before the limit on time at which the command stops where nothing is lost, and is queued again'),
  requeue: z
    .boolean()
    .default(true)
    .describe('queue the job again where a limit on time, a lost node or preemption ended it; --no-requeue does not'),
  maxRequeues: positive.default(100).describe('times that a limit on time queues a job again, at most'),
  overwrite: z.boolean().default(false).describe('replace a script of the same name with another content'),
  dryRun: z.boolean().default(false).describe('print the scripts, and write and submit nothing'),
});
export type SubmitConfig = z.output<typeof submitSchema>;
