import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import { Refusal } from '../../errors/refusal.js';
import { CachedModel } from '../../hub/cache.js';
import type { Asked, HubSettings } from '../../hub/request.js';
import type { Progress, StopRequest } from '../../progress/progress.js';
import type { SaePlace } from './layout.js';
import { type FoundSae, findLayout } from './layouts.js';

/** A path in a hub repository. */
export interface HubPlace extends Asked {
  readonly path: string;
}

/** A hub SAE whose files are in the cache. */
export interface FetchedSae extends FoundSae {
  /** Paths in `files` are relative to it. */
  readonly root: string;
}

/**
 * The SAE at a hub path. Cached files are used without querying the hub; otherwise only this SAE's files are
 * downloaded.
 *
 * @throws Refusal if the hub or the cache has none there
 */
export async function fetchedSae(
  place: HubPlace,
  settings: HubSettings,
  progress: Progress,
  stop: StopRequest,
): Promise<FetchedSae> {
  const cached = new CachedModel(settings.cache, place.model);
  const commit = await cached.commitOf(place.revision);
  if (commit !== undefined) {
    const root = cached.snapshot(commit);
    const found = await findLayout(belowDirectory(root, place.path), nameOf(place));
    if (found) return { ...found, root };
  }
  if (settings.offline) {
    throw new Refusal(
      `${nameOf(place)} is not in the cache ${settings.cache}, and no file has that name.`,
      'Run once without --offline and HF_HUB_OFFLINE, or copy the cache from a machine that has the SAE.',
      'hub/not-cached',
    );
  }
  const { downloadChosen } = await import('../../hub/download-chosen.js');
  let found: FoundSae | undefined;
  const root = await downloadChosen(place, settings, progress, stop, async (has) => {
    found = await findLayout({ path: place.path, has }, nameOf(place));
    return found ? Object.values(found.files) : [];
  });
  if (found && root !== undefined) return { ...found, root };
  throw new Refusal(
    `${nameOf(place)} is not an SAE in a supported layout.`,
    'Give the folder, or the file, of one SAE; docs/how-to/published-saes.md lists the layouts.',
    'sae/not-an-sae',
  );
}

/** Repository and path. */
export const nameOf = ({ model, path }: HubPlace): string => (path === '' ? model : `${model}/${path}`);

/** A location below a local directory. */
export function belowDirectory(root: string, path: string): SaePlace {
  // stat follows links, of which snapshots consist.
  const has = async (name: string) => (await stat(join(root, name)).catch(() => undefined))?.isFile() ?? false;
  return { path, has };
}
