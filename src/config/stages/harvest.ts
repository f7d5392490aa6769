import { z } from 'zod';
import { activationDTypes } from '../values.js';
import { trainingRoles } from './chat-flags.js';
import {
  context,
  corpus,
  device,
  directory,
  documentFlags,
  excludeSpecialTokens,
  hookList,
  maxActivationNormMultiple,
  modelSource,
  overwrite,
  positive,
  precision,
  prependBos,
  readingFlags,
  seed,
  shard,
  takeOver,
  threads,
  trainingHoldout,
} from './shared-flags.js';

/** `harvest`: corpus → language model → activation stores, one per hook. */
export const harvestSchema = z.object({
  ...modelSource,
  corpus,
  hook: hookList.describe(
    'hook points: a name (blocks.2.hook_resid_post), a pattern (blocks.*.hook_z) or a list of them with commas; may be repeated. One forward pass serves all of them; see `sae-pipe hooks`',
  ),
  tokens: positive.describe(
    'number of activations (rows) per store, all its parts together; BOS positions are not stored',
  ),
  context,
  prependBos,
  out: directory.describe(
    'directory for the stores, OUT/<hook>/; - streams the rows of one hook to standard output, for `train --activations -`',
  ),
  batch: positive.default(16).describe('max contexts per forward pass'),
  dtype: z
    .enum(['auto', ...activationDTypes])
    .default('auto')
    .describe("element type on disk; auto: the checkpoint's, which its activations do not overflow"),
  rowsPerShard: positive.default(65_536).describe('max rows per shard file'),
  windowRows: positive
    .default(1_048_576)
    .describe(
      'approximate number of rows shuffled together before they are split into shards; in memory, at most 4 GiB over all hooks',
    ),
  ...readingFlags,
  roles: trainingRoles,
  ...documentFlags,
  holdout: trainingHoldout,
  excludeSpecialTokens,
  maxActivationNormMultiple: maxActivationNormMultiple.describe(
    'leave out positions whose activation has a norm above this many times the median of the first 16,384, such as attention sinks; with one --hook only [default: leave out none]',
  ),
  shard: shard
    .optional()
    .describe(
      'write part i of n (from 0) of one harvest to OUT/<hook>/part-i-of-n/, as a task of an array; --activations OUT/<hook> reads all parts as one store. --tokens and all other flags are those of the whole harvest. auto/n: i is the number of this Slurm task (SLURM_ARRAY_TASK_ID) or Kubernetes index (JOB_COMPLETION_INDEX); auto: n comes from Slurm, too [default: all of it]',
    ),
  seed,
  device,
  precision,
  threads,
  overwrite,
  resume: z.boolean().default(false).describe('continue an unfinished harvest in --out'),
  takeOver,
});
export type HarvestConfig = z.infer<typeof harvestSchema>;
