import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { partNamed } from '../activations/find-stores.js';
import { findStore } from '../activations/store.js';
import { partInWords } from '../activations/store-parts.js';
import type { HarvestConfig } from '../config/stages/harvest.js';
import { harvest } from '../harvest/harvest.js';
import type { HarvestPart } from '../harvest/part.js';
import type { Progress, StopRequest } from '../progress/progress.js';

/**
 * Harvests what a sweep's stores lack. A task of an array harvests its part. Without one, stores that were begun as parts
 * are continued part by part, so the same sweep without --shard does what its tasks left undone.
 *
 * @param part of the task; undefined: all of the harvest
 */
export async function harvestStores(
  config: HarvestConfig,
  part: HarvestPart | undefined,
  progress: Progress,
  stop: StopRequest,
): Promise<void> {
  const shards = part === undefined ? await shardsToHarvest(config) : [partInWords(part)];
  for (const shard of shards) await harvest({ ...config, shard }, progress, stop);
}

/** Values of --shard to harvest one after another; undefined is a harvest that is not divided. */
async function shardsToHarvest(config: HarvestConfig): Promise<(string | undefined)[]> {
  const of = await partsBelow(config);
  if (of === undefined) return [undefined];
  // Complete parts agree in their settings and their text, so it is enough to compare one of them with the command's.
  const count = (await areComplete(config)) ? 1 : of;
  return Array.from({ length: count }, (_, index) => partInWords({ index, of }));
}

/** The number of parts in which the stores were begun; undefined where there are none. */
async function partsBelow({ out, hook: hooks }: HarvestConfig): Promise<number | undefined> {
  for (const hook of hooks) {
    const names = await readdir(join(out, hook)).catch((): string[] => []);
    const found = names.map(partNamed).find((part) => part !== undefined);
    if (found) return found.of;
  }
  return undefined;
}

/** Whatever is wrong with the parts is told by the harvest that continues them. */
async function areComplete({ out, hook: hooks }: HarvestConfig): Promise<boolean> {
  for (const hook of hooks) {
    const store = await findStore(join(out, hook)).catch(() => undefined);
    if (!store?.manifest.complete) return false;
  }
  return true;
}
