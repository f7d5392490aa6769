import { stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { exists } from '../disk/input-file.js';
import { isJsonObject, readJsonFile } from '../disk/json.js';
import { nearPath } from '../errors/nearest.js';
import { Refusal, UsageRefusal } from '../errors/refusal.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { CachedModel, CHAT_TEMPLATE, CONFIG, checkRevision, isModelId } from './cache.js';
import type { CheckConfig } from './download.js';
import { type Asked, type HubSettings, hubSettings, mayPass } from './request.js';

/** Where a model comes from, as commands are told: a directory or a hub id. */
export interface ModelSource {
  readonly model: string;
  /** Branch, tag or commit of a hub id; main where absent. */
  readonly revision?: string;
  /** Never ask the hub. */
  readonly offline: boolean;
  /** Key of conversations, or whether prompts are messages: either needs a chat template. */
  readonly chatField?: string;
  readonly chat?: boolean;
}

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
  { model, revision, offline, chatField, chat = false }: ModelSource,
  progress: Progress,
  stop: StopRequest,
  checkConfig?: CheckConfig,
  settings?: HubSettings,
): Promise<string> {
  const place = await modelPlace(model, revision);
  if ('directory' in place) return place.directory;
  try {
    const hub = settings ?? (await hubSettings(process.env, offline));
    const path = await snapshotOf(place, progress, stop, checkConfig, hub);
    if (chat || chatField !== undefined) await fetchChatTemplate(path, place, progress, stop, hub);
    return path;
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
        'hub/commit-unknown',
      );
    }
    throw new Refusal(
      found
        ? `${model} at revision "${wanted}" is not whole in the cache ${hub.cache}: it lacks ${found.missing.join(', ')}.`
        : `${model} at revision "${wanted}" is not in the cache ${hub.cache}, nor is there a directory of that name.`,
      'Run once without --offline and HF_HUB_OFFLINE, or copy the cache from a machine that has the model.',
      'hub/not-cached',
    );
  }
  const { downloadModel } = await import('./download.js');
  try {
    return await downloadModel({ model, revision: wanted }, hub, progress, stop, checkConfig);
  } catch (error) {
    const [commit] = error instanceof Refusal && mayPass(error) ? await cached.commits() : [];
    if (commit === undefined || found) throw error;
    const { message, code } = error as Refusal;
    throw new Refusal(message, `The cache has commit ${commit}; --revision ${commit} uses it.`, code, { cause: error });
  }
}

/**
 * Fetches the chat template of a snapshot that has none: other tools, and this one before it read templates, leave such
 * snapshots. The commit stays; of a model that has no template, nothing is fetched.
 *
 * @throws Refusal where that may not be asked of the hub
 */
async function fetchChatTemplate(
  path: string,
  { model, revision }: Asked,
  progress: Progress,
  stop: StopRequest,
  hub: HubSettings,
): Promise<void> {
  if (await hasChatTemplate(path)) return;
  if (hub.offline) {
    throw new Refusal(
      `${model} at revision "${revision}" has no chat template in the cache ${hub.cache}.`,
      `Run once without --offline and HF_HUB_OFFLINE, which fetches ${CHAT_TEMPLATE} where the model has one.`,
      'hub/not-cached',
    );
  }
  const { downloadChosen } = await import('./download-chosen.js');
  const asked = { model, revision: basename(path) };
  await downloadChosen(asked, hub, progress, stop, async (has) => ((await has(CHAT_TEMPLATE)) ? [CHAT_TEMPLATE] : []));
}

async function hasChatTemplate(directory: string): Promise<boolean> {
  if (await exists(join(directory, CHAT_TEMPLATE))) return true;
  const config = join(directory, 'tokenizer_config.json');
  const json = await readJsonFile(config, [`There is no file ${config}.`, 'Remove the snapshot.'], 'Remove the file.');
  return isJsonObject(json) && json.chat_template !== undefined && json.chat_template !== null;
}

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
        'hub/not-cached',
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
  const missing = [`There is no file ${path}.`, 'A model directory needs its config.json.', 'lm/no-config'] as const;
  return { json: await readJsonFile(path, missing, 'Download the file again.'), path };
}

const DEFAULT_REVISION = 'main';

/** What `--model` names: a directory, or an id of the hub with its revision. */
type ModelPlace = { readonly directory: string } | { readonly model: string; readonly revision: string };

/**
 * Where a model is to be found, as its name says; the hub is not asked.
 *
 * @throws Refusal for what is neither a directory nor an id, and for a revision of a directory
 */
async function modelPlace(model: string, revision: string | undefined): Promise<ModelPlace> {
  const found = await stat(model).catch(() => undefined);
  if (found?.isDirectory()) {
    if (revision === undefined) return { directory: model };
    throw new UsageRefusal(
      `--revision is for models of the hub, and ${model} is a directory.`,
      'Leave it out.',
      'hub/revision-of-directory',
    );
  }
  if (found) {
    throw new Refusal(
      `${model} is a file, not a model directory.`,
      `Did you mean ${dirname(model)}?`,
      'hub/model-is-a-file',
    );
  }
  if (!isModelId(model)) {
    throw new Refusal(
      `There is no model directory ${model}, and it is not an id of the Hugging Face hub.`,
      `${await nearDirectory(model)}Give a directory with config.json, weights and tokenizer files, or an id like google/gemma-2-2b.`,
      'hub/no-model-directory',
    );
  }
  const wanted = revision ?? DEFAULT_REVISION;
  checkRevision(wanted);
  return { model, revision: wanted };
}

/**
 * What was refused of a model of the hub, for those who meant a directory: a path of two parts may be either. Says so
 * where the first part is a directory here, and where the hub gave no answer that could tell them apart.
 */
export async function orDirectory(model: string, error: unknown): Promise<unknown> {
  const near = await stat(dirname(model)).catch(() => undefined);
  if (!(error instanceof Refusal) || !(near?.isDirectory() || mayPass(error))) return error;
  const { message, remedy = '', code, exitCode } = error;
  return new Refusal(
    `There is no directory ${model}, and as a model of the hub: ${message}`,
    `${await nearDirectory(model)}${remedy}`,
    code,
    { exitCode, cause: error },
  );
}

async function nearDirectory(path: string): Promise<string> {
  const near = await nearPath(path);
  return near === undefined ? '' : `Did you mean ${near}? `;
}
