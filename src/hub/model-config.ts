import { join } from 'node:path';
import { Refusal } from '../config/refusal.js';
import type { ModelSource } from '../config/stages.js';
import { readJsonFile } from '../disk/json-file.js';
import type { StopRequest } from '../progress/progress.js';
import { CachedModel } from './cache.js';
import { CONFIG } from './model-files.js';
import { modelPlace, orDirectory } from './model-place.js';
import { type HubSettings, hubSettings } from './settings.js';

/**
 * The config.json of what `--model` names: in its directory, in the cache of the hub, or asked of the hub. Nothing is
 * kept of what was asked.
 *
 * @param settings read from the environment by default
 * @returns it parsed, and its path or address for messages
 * @throws Refusal when there is no such model or it has no config.json
 */
export async function modelConfig(
  source: ModelSource,
  stop: StopRequest,
  settings?: HubSettings,
): Promise<{ json: unknown; path: string }> {
  const place = await modelPlace(source.model, source.revision);
  if ('directory' in place) return configIn(place.directory);
  const { model, revision } = place;
  const hub = settings ?? (await hubSettings(process.env, source.offline));
  const cached = await new CachedModel(hub.cache, model).find(revision);
  // A snapshot may lack the weights and have this.
  if (cached && !cached.missing.includes(CONFIG)) return configIn(cached.path);
  try {
    if (hub.offline) {
      throw new Refusal(
        `${model} at revision "${revision}" has no ${CONFIG} in the cache ${hub.cache}.`,
        'Run once without --offline and HF_HUB_OFFLINE, or copy the cache from a machine that has the model.',
      );
    }
    const { downloadConfig } = await import('./download.js');
    return { json: await downloadConfig({ model, revision }, hub, stop), path: `${model}/${CONFIG}` };
  } catch (error) {
    throw await orDirectory(model, error);
  }
}

async function configIn(directory: string): Promise<{ json: unknown; path: string }> {
  const path = join(directory, CONFIG);
  const missing = [`There is no file ${path}.`, 'A model directory needs its config.json.'] as const;
  return { json: await readJsonFile(path, missing, 'Download the file again.'), path };
}
