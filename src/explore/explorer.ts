import { join } from 'node:path';
import { Refusal } from '../errors/refusal.js';
import type { FeaturesOfSae } from '../features/folder.js';
import type { Progress } from '../progress/progress.js';
import type { ExploreIndex, ExploreSae } from './api.js';
import { loadColumns, openFeatureTables } from './feature-columns.js';
import { type FeatureFolder, openFeatureFolder } from './feature-folder.js';
import { FeaturePages } from './feature-pages.js';
import { GroupCache } from './group-cache.js';
import { LabelFile } from './labels.js';
import { type FeatureColumns, FeatureLists } from './query.js';

/** An SAE of a folder of features, ready for queries. */
export interface ExploredSae {
  readonly record: FeaturesOfSae;
  readonly columns: FeatureColumns;
  readonly lists: FeatureLists;
  readonly pages: FeaturePages;
  readonly labels: LabelFile;
  /** The largest activation of any feature. */
  readonly max: number;
}

/** An open folder of features. */
export interface ExploredFolder extends FeatureFolder {
  /** By its name in paths. */
  readonly saes: ReadonlyMap<string, ExploredSae>;
}

/**
 * Opens a folder of features and loads what lists need: 96 bytes per feature.
 *
 * @param only names of SAEs; all by default
 * @throws Refusal if it is not such a folder, or a file is damaged
 */
export async function exploreFolder(
  path: string,
  progress: Progress,
  only?: readonly string[],
): Promise<ExploredFolder> {
  const folder = await openFeatureFolder(path);
  const cache = new GroupCache();
  const saes = new Map<string, ExploredSae>();
  for (const record of chosenSaes(folder, path, only)) {
    const directory = join(folder.directory, record.folder);
    const tables = await openFeatureTables(directory, record.d_sae);
    const columns = await loadColumns(tables, record, progress);
    const labels = await LabelFile.read(directory, record.d_sae);
    const lists = new FeatureLists(columns, folder.vocabulary, () => labels);
    const around = { vocabulary: folder.vocabulary, lists, labels: () => labels };
    const pages = new FeaturePages(record, directory, tables, around, cache);
    const max = columns.numbers.max.reduce((most, one) => Math.max(most, one), 0);
    saes.set(record.folder, { record, columns, lists, pages, labels, max });
  }
  return { ...folder, saes };
}

/**
 * The selected SAEs of a folder: by their directory in the folder, or by the path given to `features`.
 *
 * @throws Refusal for an unknown name
 */
export function chosenSaes(
  { record }: Pick<FeatureFolder, 'record'>,
  path: string,
  only?: readonly string[],
): FeaturesOfSae[] {
  if (only === undefined) return [...record.saes];
  const named = only.map((wanted) => {
    const found = record.saes.find((sae) => [sae.folder, sae.name, sae.path].includes(wanted));
    if (found) return found;
    const names = record.saes.map(({ folder }) => folder).join(', ');
    throw new Refusal(`${path} has no SAE "${wanted}".`, `It has ${names}.`, 'explore/no-sae');
  });
  return record.saes.filter((sae) => named.includes(sae));
}

/** Description of a feature: its label, and tokens at its strongest peaks. */
export const featureInWords = ({ labels, lists }: ExploredSae, feature: number) => ({
  label: labels.byFeature.get(feature)?.label ?? null,
  tokens: lists.texts('peakTokens', feature, 3),
});

/** data/index.json */
export function indexOf(
  explorer: ExploredFolder,
  live: ExploreIndex['live'],
  shape: Pick<ExploreIndex, 'packed' | 'only'> = { packed: null, only: null },
): ExploreIndex {
  const { title, record, saes } = explorer;
  return {
    title,
    model: record.model.name,
    corpus: record.corpus,
    tokens: record.tokens,
    contexts: record.contexts,
    contextLength: record.context,
    saes: [...saes.values()].map((sae) => summaryOf(sae, record.tokens)),
    live,
    ...shape,
  };
}

function summaryOf({ record, labels, max }: ExploredSae, tokens: number): ExploreSae {
  const { norm_limit: limit, left_out: leftOut = 0 } = record;
  return {
    name: record.folder,
    architecture: record.architecture,
    hook: record.hook,
    hookOut: record.hook_out ?? null,
    dIn: record.d_in,
    dSae: record.d_sae,
    k: record.k ?? null,
    alive: record.alive,
    labelled: labels.byFeature.size,
    max,
    tokens: tokens - leftOut,
    leftOut: limit ? { tokens: leftOut, multiple: limit.multiple } : null,
    cofiringTokens: record.cofiring_tokens,
  };
}
