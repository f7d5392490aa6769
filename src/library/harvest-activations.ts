import type { z } from 'zod';
import type { harvestSchema } from '../config/stages/harvest.js';
import { harvest } from '../harvest/harvest.js';
import { partOf } from '../harvest/part.js';
import { withHooks } from '../lm/chosen-hooks.js';
import { ActivationsStore } from './activations-store.js';
import { progressOf, type RunOptions, stopOf } from './run-options.js';
import { configFromOptions } from './stage-options.js';

/**
 * Flags of `sae-pipe harvest`, their names in camel case (`--rows-per-shard` is `rowsPerShard`), with its defaults: see
 * docs/reference/cli.md#harvest. `model`, `corpus`, `hook`, `tokens` and `out` are required.
 */
export interface HarvestOptions extends Omit<z.input<typeof harvestSchema>, 'hook' | 'corpus'> {
  /** Names, or patterns such as `blocks.*.hook_resid_post`; all share one forward pass. */
  readonly hook: string | readonly string[];
  /** Files, directories or hub data sets (`hf:OWNER/DATASET`); several are mixed. */
  readonly corpus: string | readonly string[];
}

/**
 * Runs a model over text and writes one activation store per hook, as `sae-pipe harvest` does.
 *
 * @returns the stores, in the order of the hooks; for a part (`shard`) none, since it can only be read together with
 * the others
 * @throws Refusal for a problem that a user can fix, identified by its `code` (docs/reference/refusals.md)
 * @throws Interrupted if `signal` was aborted; `resume: true` continues
 */
export async function harvestActivations(options: HarvestOptions, run: RunOptions = {}): Promise<ActivationsStore[]> {
  const stop = stopOf(run);
  const config = await withHooks(configFromOptions('harvest', options), stop);
  const directories = await harvest(config, progressOf(run), stop);
  if (partOf(config.shard)) return [];
  const stores: ActivationsStore[] = [];
  for (const directory of directories) {
    stores.push(await ActivationsStore.open(directory));
  }
  return stores;
}
