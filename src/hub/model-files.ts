import { Refusal } from '../config/refusal.js';

/** What shapes the model's graph. */
export const CONFIG = 'config.json';
/** What a model cannot do without, next to its weights. */
const REQUIRED = [CONFIG, 'tokenizer.json', 'tokenizer_config.json'] as const;
/** Taken where it is there. */
const OPTIONAL = ['generation_config.json', 'special_tokens_map.json'] as const;

/** All weights in one file; wins where both kinds are there. */
export const WEIGHTS = 'model.safetensors';
/** Or this, naming the shards. */
export const WEIGHTS_INDEX = 'model.safetensors.index.json';

/** Every file that may be needed, save shards. */
export const CANDIDATES: readonly string[] = [...REQUIRED, ...OPTIONAL, WEIGHTS, WEIGHTS_INDEX];

/**
 * The largest that a file may be, bytes. All but weights are read into memory whole: the largest tokenizer.json of a
 * vocabulary of 262,144 has 33 MB.
 */
export function largest(name: string): number {
  if (name === 'tokenizer.json') return 2 ** 28;
  if (name === WEIGHTS_INDEX) return 2 ** 26;
  return name.endsWith('.safetensors') ? Number.MAX_SAFE_INTEGER : 2 ** 24;
}

/**
 * The files of a model that this program reads, save the shards that an index names.
 *
 * @param has is there a file of this name?
 * @returns the names, and what is lacking, in words
 */
export function neededFiles(has: (name: string) => boolean): { names: string[]; missing: string[] } {
  const weights = [WEIGHTS, WEIGHTS_INDEX].find(has);
  const names: string[] = [...REQUIRED, ...OPTIONAL].filter(has);
  const missing: string[] = REQUIRED.filter((name) => !has(name));
  if (weights) names.push(weights);
  else missing.push(`${WEIGHTS} (or ${WEIGHTS_INDEX} and its shards)`);
  return { names, missing };
}

/**
 * The shards named by an index, each once. Its values are data from elsewhere and become paths: only plain names pass.
 *
 * @param text model.safetensors.index.json
 * @param path where it came from, for messages
 * @throws Refusal when it is no index, or names anything but files beside it
 */
export function shardsOf(text: string, path: string): string[] {
  let map: unknown;
  try {
    map = (JSON.parse(text) as { weight_map?: unknown } | null)?.weight_map;
  } catch (cause) {
    throw new Refusal(`${path} is not JSON.`, 'Remove the file, and it is downloaded again.', { cause });
  }
  if (map === null || typeof map !== 'object' || Object.keys(map).length === 0) {
    throw new Refusal(`${path} has no weight_map.`, 'Remove the file, and it is downloaded again.');
  }
  const shards = new Set<string>();
  for (const name of Object.values(map)) {
    if (typeof name !== 'string' || !/^[A-Za-z0-9][\w.-]*\.safetensors$/.test(name)) {
      throw new Refusal(
        `${path} names the shard ${JSON.stringify(name)}, which is not a plain .safetensors file name.`,
        'Do not use this model: its index reaches out of its directory or is damaged.',
      );
    }
    shards.add(name);
  }
  return [...shards].sort();
}
