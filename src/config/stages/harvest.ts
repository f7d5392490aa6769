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

/** `harvest`: corpus → language model → activation stores, one a hook. */
export const harvestSchema = z.object({
  ...modelSource,
  corpus,
  hook: hookList.describe(
    'hook points: a name (blocks.2.hook_resid_post), a pattern (blocks.*.hook_z) or a list of them with commas; may be repeated. All of them take one forward pass; see `sae-pipe hooks`',
  ),
  tokens: positive.describe(
    'activations (rows) in each store, exactly, or in all parts of it together; BOS positions are not activations',
  ),
  context,
  prependBos,
  out: directory.describe(
    'directory for the stores, OUT/<hook>/; - writes the rows of one hook to standard output, for `train --activations -`',
  ),
  batch: positive.default(16).describe('max contexts per forward pass'),
  dtype: z
    .enum(['auto', ...activationDTypes])
    .default('auto')
    .describe('element type on disk; auto: that of the checkpoint, which its activations do not overflow'),
  rowsPerShard: positive.default(65_536).describe('max rows per shard file'),
  windowRows: positive
    .default(1_048_576)
    .describe(
      'rows permuted together before they are cut into shards, about; held in memory, 4 GiB at most over all hooks',
    ),
  ...readingFlags,
  roles: trainingRoles,
  ...documentFlags,
  holdout: trainingHoldout,
  excludeSpecialTokens,
  maxActivationNormMultiple: maxActivationNormMultiple.describe(
    'leave positions out whose activation has a norm above this many times the median of the first 16,384, such as attention sinks; with one --hook [default: none is left out]',
  ),
  shard: shard
    .optional()
    .describe(
      'part i of n, from 0, of the same harvest, as the task of an array: OUT/<hook>/part-i-of-n/; --activations OUT/<hook> reads all parts as one store. --tokens and all else are of the whole. auto/n: i is the number of this task of Slurm (SLURM_ARRAY_TASK_ID) or Kubernetes (JOB_COMPLETION_INDEX); auto: Slurm tells n, too [default: all of it]',
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
