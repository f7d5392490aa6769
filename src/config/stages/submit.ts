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
      'configuration file of a sweep, to run its harvest, training, evaluation and report as consecutive jobs; its section submit is used as that of --config',
    ),
  partition: word.optional().describe('partition [default: the cluster’s]'),
  gres: word.optional().describe('generic resources per node, such as gpu:1 [default: none]'),
  time: duration
    .optional()
    .describe('time limit of each start, as Slurm writes it: 90 (minutes), 4:00:00, 2-0 [default: the partition’s]'),
  cpus: positive.optional().describe('processors per task; the command uses as many threads [default: the cluster’s]'),
  mem: word.optional().describe('memory per node: 64G [default: the cluster’s]'),
  array: positive
    .optional()
    .describe(
      'number of tasks; in the command, {i} stands for the number of the task, from 0, and {n} for the number of tasks. Without {i}, the tasks divide a harvest, or the training of a sweep (stages.harvest.array in the file divides its harvest)',
    ),
  /** In the file only: resources of the jobs of a chain, by stage. */
  stages: z.record(z.string(), z.record(z.string(), z.unknown())).optional().describe('resources per stage of a sweep'),
  sbatch: z.array(z.string()).optional().describe('another option of sbatch: KEY=VALUE, or KEY alone; may be repeated'),
  notice: positive
    .min(10)
    .default(120)
    .describe('seconds before the time limit at which the command saves its work, stops, and is queued again'),
  requeue: z
    .boolean()
    .default(true)
    .describe('queue the job again after a time limit, a lost node or preemption; --no-requeue does not'),
  maxRequeues: positive.default(100).describe('how often a job may be queued again after a time limit, at most'),
  overwrite: z.boolean().default(false).describe('replace a script of the same name that differs'),
  dryRun: z.boolean().default(false).describe('print the scripts, but write and submit nothing'),
});
export type SubmitConfig = z.output<typeof submitSchema>;
