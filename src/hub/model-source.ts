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

/** Where a model comes from, as given in commands: a directory or a hub id. */
export interface ModelSource {
  readonly model: string;
  /** Branch, tag or commit of a hub id; main if absent. */
  readonly revision?: string;
  /** Never query the hub. */
  readonly offline: boolean;
  /** Key of conversations, or whether prompts are chat messages: both need a chat template. */
  readonly chatField?: string;
  readonly chat?: boolean;
}

/**
 * The directory of `--model`: itself if it is one; otherwise the snapshot of a hub id in the Hugging Face cache,
 * downloaded if incomplete. Cached snapshots are used without querying the hub, so that a run can be repeated, also
 * offline.
 *
 * @param checkConfig checks a hub model's config.json before downloading the rest
 * @param settings read from the environment by default
 * @throws Refusal if there is no such model, locally or on the hub
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

/** The snapshot of a hub model, downloaded if incomplete. */
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
        `The cache ${hub.cache} does not record which commit of ${model} is "${wanted}"; it contains ${commits.join(', ')}.`,
        `Add --revision ${commits[0]}.`,
        'hub/commit-unknown',
      );
    }
    throw new Refusal(
      found
        ? `${model} at revision "${wanted}" is incomplete in the cache ${hub.cache}: it lacks ${found.missing.join(', ')}.`
        : `${model} at revision "${wanted}" is not in the cache ${hub.cache}, and no directory has that name.`,
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
 * Fetches the chat template of a snapshot without one: other tools, and earlier versions of sae-pipe, leave such
 * snapshots. The commit stays the same; nothing is fetched if the model has no template.
 *
 * @throws Refusal if the hub may not be queried
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
      `Run once without --offline and HF_HUB_OFFLINE, to fetch ${CHAT_TEMPLATE} if the model has one.`,
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
  const json = await readJsonFile(config, [`${config} does not exist.`, 'Remove the snapshot.'], 'Remove the file.');
  return isJsonObject(json) && json.chat_template !== undefined && json.chat_template !== null;
}

/**
 * The config.json of `--model`: from its directory, from the hub cache, or fetched from the hub without storing it.
 *
 * @param settings read from the environment by default
 * @returns the parsed file, and its path or URL for messages
 * @throws Refusal if there is no such model or it has no config.json
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
  // A snapshot may have this file but lack the weights.
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
  const missing = [`${path} does not exist.`, 'A model directory needs its config.json.', 'lm/no-config'] as const;
  return { json: await readJsonFile(path, missing, 'Download the file again.'), path };
}

const DEFAULT_REVISION = 'main';

/** What `--model` names: a directory, or a hub id with its revision. */
type ModelPlace = { readonly directory: string } | { readonly model: string; readonly revision: string };

/**
 * Where to find a model, judging by its name; the hub is not queried.
 *
 * @throws Refusal if it is neither a directory nor an id, and for --revision with a directory
 */
async function modelPlace(model: string, revision: string | undefined): Promise<ModelPlace> {
  const found = await stat(model).catch(() => undefined);
  if (found?.isDirectory()) {
    if (revision === undefined) return { directory: model };
    throw new UsageRefusal(
      `--revision applies to hub models, but ${model} is a directory.`,
      'Omit it.',
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
      `The model directory ${model} does not exist, and it is not a Hugging Face hub id.`,
      `${await nearDirectory(model)}Give a directory with config.json, weights and tokenizer files, or an id like google/gemma-2-2b.`,
      'hub/no-model-directory',
    );
  }
  const wanted = revision ?? DEFAULT_REVISION;
  checkRevision(wanted);
  return { model, revision: wanted };
}

/**
 * Rewords a hub refusal for users who meant a directory: a path of two components may be either. Does so if the first
 * component is an existing directory, and if the hub's answer cannot tell them apart.
 */
export async function orDirectory(model: string, error: unknown): Promise<unknown> {
  const near = await stat(dirname(model)).catch(() => undefined);
  if (!(error instanceof Refusal) || !(near?.isDirectory() || mayPass(error))) return error;
  const { message, remedy = '', code, exitCode } = error;
  return new Refusal(
    `The directory ${model} does not exist, and as a hub model: ${message}`,
    `${await nearDirectory(model)}${remedy}`,
    code,
    { exitCode, cause: error },
  );
}

async function nearDirectory(path: string): Promise<string> {
  const near = await nearPath(path);
  return near === undefined ? '' : `Did you mean ${near}? `;
}
