import { createHash } from 'node:crypto';
import { join } from 'node:path';
import { Refusal } from '../errors/refusal.js';
import type { DatasetFile } from '../hub/dataset.js';
import { type HubSettings, hubSettings } from '../hub/request.js';
import { Generator, Purpose } from '../random/generator.js';
import { cardConfigs, type DatasetConfig, filesOfConfig, inferredSplits, literalDirectory } from './dataset-config.js';
import {
  aside,
  type CorpusFile,
  type CorpusFiles,
  fileKindOf,
  isArray,
  READ_ENDINGS,
  refuseDoubles,
} from './file-kind.js';
import { type HubReference, isPath, parseHubReference, pinnedReference } from './hub-reference.js';
import { type DatasetListing, datasetListing, keptDataset } from './kept-listing.js';
import { RemoteFile } from './remote-file.js';

/** Which data set, and in which order to read its files. */
interface HubCorpus {
  readonly corpus: string;
  readonly seed?: number;
  readonly offline?: boolean;
  /** Cache what is read on disk, and read from that cache. */
  readonly cacheCorpus?: boolean;
}

/** Listings are cached for the whole command, so that every part of it reads the same commit. */
const found = new Map<string, Promise<CorpusFiles>>();

/**
 * The files of a hub data set: of one split of one configuration, or those matching a path. The seed shuffles their
 * order.
 *
 * @param told settings of the hub; read from the environment if absent
 * @throws Refusal if the data set, configuration, split or file does not exist, or is not accessible
 */
export async function hubCorpus(
  { corpus, seed = 0, offline = false, cacheCorpus = false }: HubCorpus,
  told?: HubSettings,
): Promise<CorpusFiles> {
  const reference = parseHubReference(corpus);
  const settings = told ?? (await hubSettings(process.env, offline));
  const cache = cacheCorpus || settings.offline ? keptDataset(settings, reference.dataset) : undefined;
  const key = JSON.stringify([settings.endpoint, corpus, seed, cache, settings.offline]);
  const listing = found.get(key) ?? listed(reference, { settings, cache }, seed);
  found.set(key, listing);
  listing.catch(() => found.delete(key));
  return listing;
}

/** The hub, and where its responses are cached. */
interface Hub {
  readonly settings: HubSettings;
  readonly cache: string | undefined;
}

/** The chosen files of a data set at a commit. */
interface Chosen {
  readonly hub: DatasetListing;
  readonly commit: string;
  readonly files: readonly DatasetFile[];
  /** How they were chosen, in words. */
  readonly as: string;
}

async function listed(reference: HubReference, asked: Hub, seed: number): Promise<CorpusFiles> {
  const { hub, commit, files, as } = await chosenFiles(reference, asked);
  const { files: read, skipped } = corpusFilesOf(files, hub, commit, asked);
  if (read.length === 0) throw nothingToRead(reference, files);
  refuseDoubles(read);
  // Anyone can list a gated data set.
  const [first] = read;
  await (await RemoteFile.open(first!.remote!)).read(0, Math.min(4, first!.bytes));
  const order = read.length === 1 ? [0] : [...new Generator(seed, Purpose.corpusFiles).permutation(read.length)];
  const converted = hub.asked.revision === CONVERTED;
  const pinned = converted ? undefined : pinnedReference(reference, commit);
  const again = pinned === undefined ? '' : ` ${pinned} always refers to the same files.`;
  return {
    files: order.map((i) => read[i]!),
    skipped,
    remarks: [`${reference.dataset}: ${read.length} ${read.length === 1 ? 'file' : 'files'}, ${as}.${again}`],
    ...(pinned !== undefined && { pinned }),
  };
}

function corpusFilesOf(files: readonly DatasetFile[], hub: DatasetListing, commit: string, { settings, cache }: Hub) {
  const skipped: { name: string; why: string }[] = [];
  const read = files.flatMap(({ path, bytes, hash }): CorpusFile[] => {
    const how = fileKindOf(path);
    const why = path.split('/').map(aside).find(Boolean) ?? (how ? undefined : 'unsupported extension');
    if (!how || why !== undefined) {
      skipped.push({ name: path, why: why! });
      return [];
    }
    const name = `hf:${hub.asked.model}@${commit}/${path}`;
    const { asked } = hub;
    const kept = cache && { cache: join(cache, keptName(commit, path, bytes, hash)), offline: settings.offline };
    const remote = { name, url: hub.addressOf(commit, path), bytes, asked, patience: settings.patience, ...kept };
    if (how.kind === 'parquet' && how.packing !== 'none') return [];
    const identity = hash === undefined ? {} : { identity: `${path} ${hash}` };
    return [{ path: name, name, bytes, ...how, remote, ...identity }];
  });
  return { files: read, skipped };
}

/** Files with the same content are cached once, whatever their commit. */
const keptName = (commit: string, path: string, bytes: number, hash?: string) =>
  hash === undefined ? createHash('sha256').update(`${commit}/${path}`).digest('hex') : `${hash}-${bytes}`;

const isRead = ({ path }: DatasetFile) =>
  fileKindOf(path) !== undefined && !isArray(path) && !path.split('/').some((part) => aside(part) !== undefined);

/** Where the hub keeps its own conversion of a data set to Parquet: CONFIGURATION/SPLIT/0000.parquet. */
const CONVERTED = 'refs/convert/parquet';

async function chosenFiles(reference: HubReference, asked: Hub): Promise<Chosen> {
  const { dataset, revision, part } = reference;
  const hub = datasetListing(asked.settings, dataset, revision, asked.cache);
  const { commit, card } = await hub.info();
  if (part !== undefined && isPath(part)) return byPath(reference, hub, commit, part);
  const configs = cardConfigs(card);
  const config = configs.length > 0 ? chosenConfig(reference, configs) : undefined;
  const directory = config ? literalDirectory(config) : undefined;
  const listing = (await hub.files(commit, directory)) ?? [];
  const files = listing.filter(isRead);
  if (config) {
    const splits = filesOfConfig(config, files);
    if (splits.size > 0) return bySplit(reference, hub, commit, splits, `configuration ${config.name}, `);
  }
  const below =
    config === undefined && part !== undefined ? files.filter(({ path }) => path.startsWith(`${part}/`)) : files;
  if (!config && below.length > 0) return bySplit(reference, hub, commit, inferredSplits(below), '');
  return convertedFiles(reference, asked, listing);
}

/** The files that match a path or a pattern. */
async function byPath(reference: HubReference, hub: DatasetListing, commit: string, pattern: string): Promise<Chosen> {
  if (reference.split !== undefined) {
    throw new Refusal(
      `hf:${reference.dataset}/${pattern} selects files, but ":${reference.split}" a split of a configuration.`,
      'Omit one of the two.',
      'corpus/path-and-split',
    );
  }
  const config: DatasetConfig = { name: '', files: [{ split: '', patterns: [pattern, `${pattern}/**`] }] };
  const literal = literalDirectory(config);
  const listing = (await hub.files(commit, literal)) ?? [];
  const files = [...filesOfConfig(config, listing).values()].flat();
  if (files.length === 0) {
    const near = listing.slice(0, 5).map(({ path }) => path);
    throw new Refusal(
      `${reference.dataset} at revision "${reference.revision}" has no file ${pattern}.`,
      near.length > 0 ? `It has ${near.join(', ')}${listing.length > 5 ? ', …' : ''}.` : 'Check the path.',
      'corpus/no-such-file',
    );
  }
  return { hub, commit, files, as: `of ${pattern}` };
}

function chosenConfig({ dataset, part }: HubReference, configs: readonly DatasetConfig[]): DatasetConfig | undefined {
  const names = configs.map(({ name }) => name);
  if (part !== undefined) {
    const named = configs.find(({ name }) => name === part);
    // It may be a directory, or a configuration that exists only in the hub's conversion.
    return named;
  }
  const usual = configs.find(({ isDefault }) => isDefault) ?? configs.find(({ name }) => name === 'default');
  if (usual) return usual;
  if (configs.length === 1) return configs[0];
  throw new Refusal(
    `${dataset} has ${configs.length} configurations, and none is given: ${namesOf(names)}.`,
    `Give one: hf:${dataset}/${names[0]}.`,
    'corpus/which-configuration',
  );
}

const namesOf = (names: readonly string[]) => names.slice(0, 20).join(', ') + (names.length > 20 ? ', …' : '');

/** The files of the requested split, or of train. */
function bySplit(
  { dataset, split }: HubReference,
  hub: DatasetListing,
  commit: string,
  splits: ReadonlyMap<string, readonly DatasetFile[]>,
  of: string,
): Chosen {
  const names = [...splits.keys()];
  const wanted = split ?? (splits.has('train') ? 'train' : names.length === 1 ? names[0]! : undefined);
  const files = wanted === undefined ? undefined : splits.get(wanted);
  if (wanted === undefined || !files) {
    throw new Refusal(
      wanted === undefined
        ? `${dataset} has several splits, and none is given: ${namesOf(names)}.`
        : `${dataset} has no split ${wanted} (its splits: ${namesOf(names)}).`,
      `Give one of these: hf:${dataset}…:${names[0]}.`,
      'corpus/no-split',
    );
  }
  return { hub, commit, files, as: `${of}split ${wanted}` };
}

/** The hub's own conversion, if the data set has no supported files. */
async function convertedFiles(reference: HubReference, asked: Hub, there: readonly DatasetFile[]): Promise<Chosen> {
  const { dataset, part, revision } = reference;
  const hub = datasetListing(asked.settings, dataset, CONVERTED, asked.cache);
  const info = revision === 'main' ? await hub.info().catch(orNoConversion) : undefined;
  const files = info ? ((await hub.files(info.commit)) ?? []).filter(isRead) : [];
  const configs = new Map<string, DatasetFile[]>();
  for (const file of files) {
    const [config, split, name] = file.path.split('/');
    if (config && split && name) configs.set(config, [...(configs.get(config) ?? []), file]);
  }
  const names = [...configs.keys()];
  const config = part ?? (configs.has('default') ? 'default' : names.length === 1 ? names[0] : undefined);
  const chosen = config === undefined ? undefined : configs.get(config);
  if (!info || !chosen) {
    if (names.length === 0 && part === undefined) throw nothingToRead(reference, there);
    throw new Refusal(
      config === undefined
        ? `${dataset} has ${names.length} configurations, and none is given: ${namesOf(names)}.`
        : `${dataset} at revision "${revision}" has no configuration or directory ${config}${names.length > 0 ? ` (its configurations: ${namesOf(names)})` : ''}.`,
      names.length > 0 ? `Give one of these: hf:${dataset}/${names[0]}.` : 'Check the name on its page.',
      'corpus/which-configuration',
    );
  }
  const splits = new Map<string, DatasetFile[]>();
  for (const file of chosen) {
    // For large data sets, only the beginning is converted.
    const split = file.path.split('/')[1]!.replace(/^partial-/, '');
    splits.set(split, [...(splits.get(split) ?? []), file]);
  }
  const partial = chosen.some(({ path }) => path.split('/')[1]!.startsWith('partial-'));
  const what = `from the hub's conversion to Parquet (${CONVERTED}${partial ? ', only the beginning of the data set' : ''}), configuration ${config}, `;
  return bySplit(reference, hub, info.commit, splits, what);
}

function orNoConversion(error: unknown): undefined {
  if (error instanceof Refusal && ['hub/no-revision', 'hub/no-dataset'].includes(error.code)) return undefined;
  throw error;
}

function nothingToRead({ dataset, revision }: HubReference, files: readonly DatasetFile[]): Refusal {
  const there = files.length > 0 ? ` (it has ${namesOf(files.map(({ path }) => path))})` : '';
  return new Refusal(
    `${dataset} at revision "${revision}" has no file ending in ${READ_ENDINGS}${there}, and the hub has not converted it.`,
    'Choose a data set with such files, or convert it and give the files.',
    'corpus/nothing-to-read',
  );
}
