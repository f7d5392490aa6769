import { Refusal } from '../config/refusal.js';
import type { ModelSource } from '../config/stages.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { CachedModel } from './cache.js';
import type { CheckConfig } from './download.js';
import { modelPlace, orDirectory } from './model-place.js';
import type { Asked } from './request.js';
import { type HubSettings, hubSettings } from './settings.js';

/**
 * The directory of what `--model` names: itself where it is one; else the snapshot of a hub id in the Hugging Face
 * cache, downloaded where it is not whole. What is cached is used without asking the hub, so that a run can be repeated
 * and needs no network.
 *
 * @param checkConfig refuses a model of the hub before it is downloaded
 * @param settings read from the environment by default
 * @throws Refusal when there is no such model, here or there
 */
export async function modelDirectory(
  { model, revision, offline }: ModelSource,
  progress: Progress,
  stop: StopRequest,
  checkConfig?: CheckConfig,
  settings?: HubSettings,
): Promise<string> {
  const place = await modelPlace(model, revision);
  if ('directory' in place) return place.directory;
  try {
    return await snapshotOf(place, progress, stop, checkConfig, settings ?? (await hubSettings(process.env, offline)));
  } catch (error) {
    throw await orDirectory(model, error);
  }
}

/** The snapshot of a model of the hub, downloaded where it is not whole. */
async function snapshotOf(
  { model, revision: wanted }: Asked,
  progress: Progress,
  stop: StopRequest,
  checkConfig: CheckConfig | undefined,
  hub: HubSettings,
): Promise<string> {
  const cached = new CachedModel(hub.cache, model);
  const found = await cached.find(wanted);
  if (found?.missing.length === 0) return found.path;
  if (hub.offline) {
    const commits = found ? [] : await cached.commits();
    if (commits.length > 0) {
      throw new Refusal(
        `The cache ${hub.cache} does not say which commit of ${model} is "${wanted}"; it has ${commits.join(', ')}.`,
        `Add --revision ${commits[0]}.`,
      );
    }
    throw new Refusal(
      found
        ? `${model} at revision "${wanted}" is not whole in the cache ${hub.cache}: it lacks ${found.missing.join(', ')}.`
        : `${model} at revision "${wanted}" is not in the cache ${hub.cache}, nor is there a directory of that name.`,
      'Run once without --offline and HF_HUB_OFFLINE, or copy the cache from a machine that has the model.',
    );
  }
  const [{ downloadModel }, { mayPass }] = await Promise.all([import('./download.js'), import('./request.js')]);
  try {
    return await downloadModel({ model, revision: wanted }, hub, progress, stop, checkConfig);
  } catch (error) {
    const [commit] = error instanceof Refusal && mayPass(error) ? await cached.commits() : [];
    if (commit === undefined || found) throw error;
    const { message } = error as Refusal;
    throw new Refusal(message, `The cache has commit ${commit}; --revision ${commit} uses it.`, { cause: error });
  }
}
