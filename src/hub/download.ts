import { readFile } from 'node:fs/promises';
import { makeDirectory } from '../disk/durable.js';
import { parseJson } from '../disk/json.js';
import { checkFreeSpace, formatBytes } from '../disk/space.js';
import { Refusal } from '../errors/refusal.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { NOTHING_BEGUN, unlessStopped } from '../progress/stop.js';
import {
  CANDIDATES,
  CachedModel,
  CONFIG,
  isCommit,
  mostBytesOf,
  neededFiles,
  shardsOf,
  WEIGHTS,
  WEIGHTS_INDEX,
} from './cache.js';
import { API_BOUNDS, type Asked, boundedFetch, type HubSettings, hubFetch } from './request.js';
import { fetchBlob, type HubFile, isThere, partBytes } from './transfer.js';

const OTHER_CACHE = 'Free space, or set HF_HUB_CACHE to a writable directory with enough space.';

/**
 * Checks a model's config.json, before its weights are downloaded.
 *
 * @param config config.json, parsed
 * @param path where it came from, for messages
 * @throws Refusal
 */
export type CheckConfig = (config: unknown, path: string) => void;

/**
 * Downloads the files that sae-pipe needs of a model into the Hugging Face cache. The snapshot is first pinned to a
 * commit; `refs/` points to it once it is complete.
 *
 * @param checkConfig called before any file is fetched
 * @returns the snapshot's directory
 * @throws Refusal if the hub cannot be reached, refuses, lacks a file or sends wrong bytes, or the disk is too full
 */
export async function downloadModel(
  asked: Asked,
  settings: HubSettings,
  progress: Progress,
  stop: StopRequest,
  checkConfig: CheckConfig = () => {},
): Promise<string> {
  const fetch = hubFetch(settings, asked);
  const ask = boundedFetch(fetch, API_BOUNDS);
  const { commit, listing } = await unlessStopped(listModel(asked, settings, ask), stop, () => NOTHING_BEGUN);
  const cached = new CachedModel(settings.cache, asked.model);
  const download: Download = { asked, settings, progress, stop, fetch, commit, listing, cached };
  const config = listing.get(CONFIG);
  if (config) checkConfig(await configOf(download, config, ask), `${asked.model}/${CONFIG}`);
  const files = wantedFiles(download);
  const large = files.filter(({ name }) => name === WEIGHTS);
  await checkRoom(cached, files);
  await writingCache(settings.cache, async () => {
    await makeCache(cached);
    // The small ones first, so that refusals come early, and because an index names the shards.
    await fetchAll(
      download,
      'fetching files',
      files.filter((file) => !large.includes(file)),
    );
    const index = files.find(({ name }) => name === WEIGHTS_INDEX);
    await fetchAll(download, 'fetching weights', index ? [...large, ...(await shardFiles(download, index))] : large);
    await cached.pointRef(asked.revision, commit);
  });
  return cached.snapshot(commit);
}

/** A download of a model into the cache. */
interface Download {
  readonly asked: Asked;
  readonly settings: HubSettings;
  readonly progress: Progress;
  readonly stop: StopRequest;
  readonly fetch: typeof globalThis.fetch;
  readonly commit: string;
  /** Files that may be needed, by name. */
  readonly listing: ReadonlyMap<string, HubFile>;
  readonly cached: CachedModel;
}

const urlOf = ({ asked, settings, commit }: Pick<Download, 'asked' | 'settings' | 'commit'>, name: string) =>
  `${settings.endpoint}/${asked.model}/resolve/${commit}/${name.split('/').map(encodeURIComponent).join('/')}`;

/** config.json, parsed: from the cache, or fetched without being stored. */
async function configOf(download: Download, file: HubFile, ask: typeof globalThis.fetch): Promise<unknown> {
  const { asked, stop, cached } = download;
  const blob = cached.blob(file.hash);
  const fetched = async () => (await ask(urlOf(download, CONFIG))).text();
  const text = (await isThere(blob, file))
    ? readFile(blob, 'utf8')
    : unlessStopped(fetched(), stop, () => NOTHING_BEGUN);
  return parsedConfig(await text, asked.model);
}

/** The needed files, except the shards named by an index. */
function wantedFiles({ asked, listing }: Download): HubFile[] {
  const { names, missing } = neededFiles((name) => listing.has(name));
  if (missing.length > 0) {
    throw new Refusal(
      `${asked.model} at revision "${asked.revision}" has no ${missing.join(', no ')}.`,
      'Choose a model that has its weights as safetensors and a tokenizer.json.',
      'hub/files-missing',
    );
  }
  return names.map((name) => listing.get(name)!);
}

/** The files named by a downloaded index. */
async function shardFiles({ asked, listing, cached }: Download, index: HubFile): Promise<HubFile[]> {
  const path = `${asked.model}/${WEIGHTS_INDEX}`;
  const shards = shardsOf(await readFile(cached.blob(index.hash), 'utf8'), path);
  return shards.map((shard) => {
    const file = listing.get(shard);
    if (file) return file;
    throw new Refusal(
      `${path} names ${shard}, which the model does not have.`,
      'Its upload is incomplete.',
      'hub/shard-missing',
    );
  });
}

async function fetchAll(download: Download, label: string, files: readonly HubFile[]): Promise<void> {
  const { settings, progress, stop, fetch, commit, cached } = download;
  await checkRoom(cached, files);
  progress.begin(label, sum(files), 'byte');
  let before = 0;
  for (const file of files) {
    const url = urlOf(download, file.name);
    const tell = (bytes: number) => progress.update(before + bytes, file.name);
    const waiting = () => progress.say(`Another process is downloading ${file.name}; waiting for it.`);
    const blob = cached.blob(file.hash);
    await fetchBlob({ url, fetch, patience: settings.patience, stop, tell, waiting }, file, blob);
    await cached.link(commit, file.name, file.hash);
    before += file.size;
  }
  progress.end();
}

/** Runs work that writes to the cache. */
async function writingCache(cache: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (cause) {
    const { code, syscall } = cause as NodeJS.ErrnoException;
    if (code === undefined || syscall === undefined) throw cause;
    throw new Refusal(
      `The Hugging Face cache ${cache} could not be written (${code}).`,
      OTHER_CACHE,
      'hub/cache-not-writable',
      { cause },
    );
  }
}

/**
 * The parsed config.json of a hub model; no other file is fetched, and nothing is stored on disk.
 *
 * @throws Refusal if the hub cannot be reached, refuses, or has no such file
 */
export async function downloadConfig(asked: Asked, settings: HubSettings, stop: StopRequest): Promise<unknown> {
  const ask = boundedFetch(hubFetch(settings, asked), API_BOUNDS);
  const fetched = async () => {
    const { commit, listing } = await listModel(asked, settings, ask);
    if (!listing.has(CONFIG)) {
      throw new Refusal(
        `${asked.model} at revision "${asked.revision}" has no ${CONFIG}.`,
        'Choose a model in transformers format.',
        'hub/no-config',
      );
    }
    return (await ask(urlOf({ asked, settings, commit }, CONFIG))).text();
  };
  return parsedConfig(await unlessStopped(fetched(), stop, () => NOTHING_BEGUN), asked.model);
}

const sum = (files: readonly HubFile[]) => files.reduce((total, { size }) => total + size, 0);

/** Refuses a download that does not fit on the disk; complete or partial existing files do not count. */
async function checkRoom(cached: CachedModel, files: readonly HubFile[]): Promise<void> {
  let needed = 0;
  for (const file of files) {
    const blob = cached.blob(file.hash);
    if (!(await isThere(blob, file))) needed += file.size - Math.min(file.size, await partBytes(blob));
  }
  await checkFreeSpace(cached.directory, needed, OTHER_CACHE);
}

function parsedConfig(text: string, model: string): unknown {
  try {
    return parseJson(text);
  } catch (cause) {
    throw new Refusal(
      `${model}/${CONFIG} is not JSON.`,
      'Choose another model: its upload is damaged.',
      'hub/config-not-json',
      { cause },
    );
  }
}

/** The commit of a revision, and those of its files that may be needed, by name. */
async function listModel(asked: Asked, settings: HubSettings, fetch: typeof globalThis.fetch) {
  const commit = await pinnedCommit(asked, settings, fetch);
  const wanted = (name: string) => CANDIDATES.includes(name) || name.endsWith('.safetensors');
  const listing = await listFolder(asked, settings, fetch, commit, { folder: '', wanted });
  for (const { name, size } of listing.values()) {
    const most = mostBytesOf(name);
    if (size > most) {
      throw notAHub(settings, `it lists ${name} with ${formatBytes(size)} (at most ${formatBytes(most)})`);
    }
  }
  return { commit, listing };
}

const notAHub = ({ endpoint }: HubSettings, what: string, cause?: unknown) =>
  new Refusal(`${endpoint} does not respond like a hub: ${what}.`, 'Check HF_ENDPOINT.', 'hub/not-a-hub', { cause });

/** Errors of the hub's client mean that the server does not implement its protocol. */
export async function asHub<T>(settings: HubSettings, work: () => Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (cause) {
    if (cause instanceof Refusal) throw cause;
    throw notAHub(settings, cause instanceof Error ? cause.message : String(cause), cause);
  }
}

/** The commit of a revision. @throws Refusal if the hub cannot be reached or refuses */
export async function pinnedCommit(
  asked: Asked,
  settings: HubSettings,
  fetch: typeof globalThis.fetch,
): Promise<string> {
  const { endpoint: hubUrl } = settings;
  return asHub(settings, async () => {
    const { datasetInfo, modelInfo } = await import('@huggingface/hub');
    const { kind, model: name, revision } = asked;
    const question = { name, revision, hubUrl, fetch };
    const { sha } =
      kind === 'data set'
        ? await datasetInfo({ ...question, additionalFields: ['sha'] })
        : await modelInfo({ ...question, additionalFields: ['sha'] });
    // Commit and hashes become file names here.
    if (typeof sha !== 'string' || !isCommit(sha)) throw notAHub(settings, `the commit is ${JSON.stringify(sha)}`);
    return sha;
  });
}

/** What to list in a repository. */
interface ListedFolder {
  /** '' is the root. */
  readonly folder: string;
  /** Include subfolders. */
  readonly recursive?: boolean;
  /** Files to include; all by default. */
  readonly wanted?: (name: string) => boolean;
}

/**
 * Files of a folder of a repository, by their paths.
 *
 * @throws Refusal if the hub cannot be reached, refuses, or lists a file without size or hash
 */
export async function listFolder(
  { kind, model: name }: Asked,
  settings: HubSettings,
  fetch: typeof globalThis.fetch,
  revision: string,
  { folder, recursive = false, wanted = () => true }: ListedFolder,
): Promise<ReadonlyMap<string, HubFile>> {
  const { endpoint: hubUrl } = settings;
  return asHub(settings, async () => {
    const { listFiles } = await import('@huggingface/hub');
    const listing = new Map<string, HubFile>();
    const repo = { type: kind === 'data set' ? 'dataset' : 'model', name } as const;
    const path = folder === '' ? undefined : folder;
    for await (const { type, path: name, size, oid, lfs } of listFiles({
      repo,
      revision,
      path,
      recursive,
      hubUrl,
      fetch,
    })) {
      if (type !== 'file' || !wanted(name)) continue;
      const file: HubFile = { name, size: lfs?.size ?? size, hash: lfs?.oid ?? oid ?? '' };
      const proven = /^[0-9a-f]{40}$|^[0-9a-f]{64}$/.test(file.hash);
      if (!proven || !Number.isSafeInteger(file.size) || file.size < 0) {
        throw notAHub(settings, `it lists ${name} without size or hash`);
      }
      listing.set(name, file);
    }
    return listing;
  });
}

/** Listed files of a repository to fetch. */
interface Listed {
  readonly fetch: typeof globalThis.fetch;
  readonly commit: string;
  readonly files: readonly HubFile[];
}

/** Downloads listed files into the cache. @returns the snapshot's directory */
export async function fetchListed(
  asked: Asked,
  settings: HubSettings,
  progress: Progress,
  stop: StopRequest,
  { fetch, commit, files }: Listed,
): Promise<string> {
  const cached = new CachedModel(settings.cache, asked.model);
  const listing = new Map(files.map((file) => [file.name, file]));
  const download: Download = { asked, settings, progress, stop, fetch, commit, listing, cached };
  await checkRoom(cached, files);
  await writingCache(settings.cache, async () => {
    await makeCache(cached);
    await fetchAll(download, 'fetching files', files);
    await cached.pointRef(asked.revision, commit);
  });
  return cached.snapshot(commit);
}

async function makeCache(cached: CachedModel): Promise<void> {
  await makeDirectory(cached.blobs).catch((cause: Error) => {
    throw new Refusal(
      `The Hugging Face cache cannot be created: ${cause.message}`,
      OTHER_CACHE,
      'hub/no-cache-directory',
      {
        cause,
      },
    );
  });
}
