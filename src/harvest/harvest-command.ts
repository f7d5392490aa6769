import { partInWords } from '../activations/store-parts.js';
import { commandWords, type GivenCommand, isLasting } from '../config/flags.js';
import { type HarvestConfig, harvestSchema } from '../config/stages/harvest.js';
import { partOf } from './part.js';

/** The command of a harvest without --out; undefined if another shell could not read its input. */
export function harvestCommand(config: HarvestConfig): GivenCommand | undefined {
  if (![config.model, ...config.corpus].every(isLasting)) return undefined;
  const part = partOf(config.shard);
  const words = [...commandWords(harvestSchema, config), ...(part ? ['--shard', partInWords(part)] : [])];
  return { directory: process.cwd(), words };
}
