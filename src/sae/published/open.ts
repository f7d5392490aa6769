import { stat } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Refusal } from '../../errors/refusal.js';
import { type HubSettings, hubSettings } from '../../hub/request.js';
import type { Progress, StopRequest } from '../../progress/progress.js';
import { CFG_FILE, WEIGHTS_FILE } from '../saelens.js';
import { asOurs } from './cache.js';
import { belowDirectory, fetchedSae, nameOf } from './hub.js';
import type { SaeFileNames } from './layout.js';
import { type FoundSae, findLayout, LAYOUTS } from './layouts.js';
import { type SaeReference, saeReference } from './reference.js';

/** Whether the hub may be queried, and its settings; from the environment if absent. */
export interface SaeSource {
  readonly offline: boolean;
  readonly settings?: HubSettings;
}

/** An SAE whose files are local. */
interface SaeHere extends FoundSae {
  /** `files` with local paths. */
  readonly paths: SaeFileNames;
  /** Repository and path, or local path. */
  readonly name: string;
  readonly scale?: number;
}

/**
 * The directory of `--sae` with cfg.json and sae_weights.safetensors: itself if it has these, otherwise a converted
 * copy in the cache (cache.ts). From the hub, only the files of that SAE are downloaded.
 *
 * @throws Refusal if there is no such SAE, or it cannot be represented exactly
 */
export async function saeDirectory(
  reference: string,
  source: SaeSource,
  progress: Progress,
  stop: StopRequest,
): Promise<string> {
  const where = await saeReference(reference);
  // One of ours that is damaged or lacks its weights is refused by its own reader.
  if (where.kind === 'local' && (await isOurs(where.path))) return reference;
  const found = await foundSae(where, reference, source, progress, stop);
  const { layout, paths, name, scale } = found;
  const sae = await layout.read({ files: paths, name, scale });
  // In messages, a path as given is easier to read.
  if (sae === null) return where.kind === 'local' ? directoryOf(reference) : dirname(paths.config!);
  const directory = await asOurs(sae, layout.name, paths);
  progress.say(`${reference} is in the layout of ${layout.publisher}; converted to ${directory}.`);
  return directory;
}

/** The same for several, by reference, in their order. */
export async function saeDirectories(
  references: readonly string[],
  source: SaeSource,
  progress: Progress,
  stop: StopRequest,
): Promise<Map<string, string>> {
  const directories = new Map<string, string>();
  for (const reference of new Set(references)) {
    directories.set(reference, await saeDirectory(reference, source, progress, stop));
  }
  return directories;
}

async function directoryOf(path: string): Promise<string> {
  return (await stat(path)).isDirectory() ? path : dirname(path);
}

async function foundSae(
  where: SaeReference,
  reference: string,
  source: SaeSource,
  progress: Progress,
  stop: StopRequest,
): Promise<SaeHere> {
  if (where.kind === 'hub') {
    const { repository: model, revision, path, scale } = where;
    const place = { model, revision, path };
    const settings = source.settings ?? (await hubSettings(process.env, source.offline));
    const found = await fetchedSae(place, settings, progress, stop);
    return { ...found, paths: below(found.root, found.files), name: nameOf(place), scale };
  }
  const found = await findLayout(belowDirectory('/', where.path.slice(1)), reference);
  if (!found) throw await notAnSae(reference, where.path);
  return { ...found, paths: below('/', found.files), name: where.path };
}

const below = (root: string, files: SaeFileNames): SaeFileNames =>
  Object.fromEntries(Object.entries(files).map(([role, path]) => [role, join(root, path)]));

async function notAnSae(reference: string, path: string): Promise<Refusal> {
  const directory = (await stat(path)).isDirectory();
  const what = directory ? `is not an SAE directory (it has no ${CFG_FILE})` : 'is not an SAE';
  return new Refusal(
    `${reference} ${what}, nor in a supported layout (${LAYOUTS.map(({ name }) => name).join(', ')}).`,
    'Give a directory that `sae-pipe train` finished, or the folder or file of a published SAE.',
    'sae/not-an-sae',
  );
}

/** A directory with a cfg.json that is not sparsify's. */
async function isOurs(path: string): Promise<boolean> {
  const has = belowDirectory('/', path).has;
  const [cfg, weights, other] = [CFG_FILE, WEIGHTS_FILE, 'sae.safetensors'].map((name) => has(join(path, name)));
  return (await cfg!) && !(await weights!) && !(await other!);
}
