import { Refusal } from '../errors/refusal.js';
import type { Progress, StopRequest } from '../progress/progress.js';
import { NOTHING_BEGUN, unlessStopped } from '../progress/stop.js';
import { fetchListed, listFolder, pinnedCommit } from './download.js';
import { API_BOUNDS, type Asked, boundedFetch, type HubSettings, hubFetch } from './request.js';
import type { HubFile } from './transfer.js';

/** Max bytes of a configuration: everything but weights is read into memory. */
const MOST_CONFIG = 2 ** 24;
const WEIGHTS = /\.(safetensors|npz|pt|pth)$/;

/**
 * Downloads some files of a repository into the Hugging Face cache, pinned to a commit.
 *
 * @param choose returns the files to download; `has` checks whether the repository has one, listing only the folders
 * needed
 * @returns the snapshot's directory; undefined if nothing was chosen
 * @throws Refusal as `downloadModel`
 */
export async function downloadChosen(
  asked: Asked,
  settings: HubSettings,
  progress: Progress,
  stop: StopRequest,
  choose: (has: (path: string) => Promise<boolean>) => Promise<readonly string[]>,
): Promise<string | undefined> {
  const fetch = hubFetch(settings, asked);
  const ask = boundedFetch(fetch, API_BOUNDS);
  const commit = await unlessStopped(pinnedCommit(asked, settings, ask), stop, () => NOTHING_BEGUN);
  const folders = new Map<string, Promise<ReadonlyMap<string, HubFile>>>();
  const fileAt = async (path: string) => {
    const folder = path.slice(0, Math.max(0, path.lastIndexOf('/')));
    const listing = folders.get(folder) ?? listed(folder);
    folders.set(folder, listing);
    return (await unlessStopped(listing, stop, () => NOTHING_BEGUN)).get(path);
  };
  const listed = async (folder: string) => {
    try {
      return await listFolder(asked, settings, ask, commit, { folder });
    } catch (error) {
      // The repository exists, so it is the folder that is missing.
      if (error instanceof Refusal && error.code === 'hub/no-model') return new Map<string, HubFile>();
      throw error;
    }
  };
  const chosen = await choose(async (path) => (await fileAt(path)) !== undefined);
  if (chosen.length === 0) return undefined;
  const files: HubFile[] = [];
  for (const path of chosen) files.push(checkSize((await fileAt(path))!, settings));
  return fetchListed(asked, settings, progress, stop, { fetch, commit, files });
}

/**
 * Paths of all files below a folder of a repository; downloads nothing.
 *
 * @throws Refusal if the hub cannot be reached, refuses, or has no such folder
 */
export async function repositoryFiles(
  asked: Asked,
  folder: string,
  settings: HubSettings,
  stop: StopRequest,
): Promise<string[]> {
  const ask = boundedFetch(hubFetch(settings, asked), API_BOUNDS);
  const work = async () => {
    const commit = await pinnedCommit(asked, settings, ask);
    return [...(await listFolder(asked, settings, ask, commit, { folder, recursive: true })).keys()];
  };
  return unlessStopped(work(), stop, () => NOTHING_BEGUN);
}

function checkSize(file: HubFile, { endpoint }: HubSettings): HubFile {
  if (WEIGHTS.test(file.name) || file.size <= MOST_CONFIG) return file;
  throw new Refusal(
    `${endpoint} lists ${file.name} with ${file.size} bytes, too large for a configuration.`,
    'Choose another SAE or model.',
    'hub/not-a-hub',
  );
}
