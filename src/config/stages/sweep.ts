import { z } from 'zod';
import { trainable } from '../../sae/registry.js';
import { directory, hookList, logDir, positive, seed, shard, takeOver, targetL0 } from './shared-flags.js';

/** `sweep`: many SAEs from one pass over the activations, evaluated and plotted together. */
export const sweepSchema = z.object({
  out: directory.describe('directory for everything that the sweep writes: activations, SAEs, evaluation, report.html'),
  hook: hookList
    .optional()
    .describe(
      'hook points: names, patterns or lists as for harvest; may be repeated [default: those of the harvest section]',
    ),
  arch: z.array(z.enum(trainable)).min(1).optional().describe('architecture; may be repeated'),
  dSae: z.array(positive).min(1).optional().describe('number of features; may be repeated'),
  l1: z.array(z.number().nonnegative()).min(1).optional().describe('λ; may be repeated'),
  l0: z.array(targetL0).min(1).optional().describe('target L0; may be repeated'),
  seed: z.array(seed).min(1).optional().describe('seed of initialisation and order; may be repeated'),
  /** In configuration files only: separate lists for groups of runs, e.g. a wider dictionary for the baseline. */
  runs: z
    .array(z.record(z.string(), z.unknown()))
    .optional()
    .describe('groups of runs: hook, and any flags of train, each a value or a list of values'),
  activations: directory
    .optional()
    .describe(
      'directory with one store per hook (harvest output), or all parts of one; several as for train [default: OUT/activations, harvested first]',
    ),
  logDir: logDir.describe('directory for TensorBoard event files, with a subdirectory per SAE [default: none]'),
  strict: z
    .boolean()
    .default(false)
    .describe('exit 1 if an SAE is useless (L0 below 1, explained variance below 0, …); everything is written anyway'),
  until: z
    .enum(['harvest', 'train', 'eval'])
    .optional()
    .describe('stop after this stage; the same command without it continues [default: to the report]'),
  shard: shard
    .optional()
    .describe(
      'train share i of n (from 0), as a task of an array; SAEs trained from the same pass over a store stay together where possible. With --until harvest, harvest part i of n instead. The same command without this flag then does the rest. auto/n and auto as for harvest [default: everything]',
    ),
  takeOver,
});
export type SweepConfig = z.infer<typeof sweepSchema>;
