import { stat } from 'node:fs/promises';
import { basename, join, resolve } from 'node:path';
import { checkJson, readJsonFile } from '../disk/json.js';
import { nearPath, withNear } from '../errors/nearest.js';
import { Refusal } from '../errors/refusal.js';
import {
  FEATURES_FILE,
  type FeaturesOfSae,
  type FeaturesRecord,
  featuresRecord,
  VOCABULARY_COLUMNS,
  VOCABULARY_FILE,
} from '../features/folder.js';
import { ParquetTable } from './parquet-table.js';
import { TokenTexts } from './query.js';

const COLLECT_AGAIN = 'Collect the features again (`sae-pipe features`), or download the folder again.';
/** Max bytes of features.json. */
const MOST_RECORD = 2 ** 24;

/** A folder written by `features`. */
export interface FeatureFolder {
  /** Absolute path. */
  readonly directory: string;
  readonly title: string;
  readonly record: FeaturesRecord;
  readonly vocabulary: TokenTexts;
}

/**
 * Opens a folder of features: its record and the token texts.
 *
 * @throws Refusal if it is not one, or a file is damaged
 */
export async function openFeatureFolder(path: string): Promise<FeatureFolder> {
  const directory = resolve(path);
  const found = await stat(directory).catch(() => undefined);
  if (!found?.isDirectory()) {
    throw new Refusal(
      found ? `${path} is not a directory.` : `The directory ${path} does not exist.`,
      withNear(found ? undefined : await nearPath(path), 'Give the --out of `sae-pipe features`.'),
      'explore/no-directory',
    );
  }
  const recordPath = join(directory, FEATURES_FILE);
  const json = await readJsonFile(
    recordPath,
    [
      `${path} contains no ${FEATURES_FILE}, so it is not a finished folder of features.`,
      'Give the --out of `sae-pipe features`; if that was stopped, resume it first.',
      'explore/no-record',
    ],
    COLLECT_AGAIN,
    MOST_RECORD,
  );
  const record = checkJson(featuresRecord, json, recordPath, COLLECT_AGAIN);
  checkNames(record.saes, recordPath);
  return {
    directory,
    title: basename(directory) || directory,
    record,
    vocabulary: await readVocabulary(join(directory, VOCABULARY_FILE), record.model.vocabulary),
  };
}

/** Two SAEs must not share a directory, even on case-insensitive file systems. */
function checkNames(saes: readonly FeaturesOfSae[], path: string): void {
  const folders = new Set(saes.map(({ folder }) => folder.toLowerCase()));
  if (folders.size !== saes.length)
    throw new Refusal(`${path} names the same directory for two SAEs.`, COLLECT_AGAIN, 'explore/broken-file');
}

/** Max tokens of a model: four times as many as any has. */
const MOST_TOKENS = 2 ** 20;

async function readVocabulary(path: string, expected: number): Promise<TokenTexts> {
  const table = await ParquetTable.open(path, VOCABULARY_COLUMNS);
  const broken = (what: string) => new Refusal(`${path} ${what}.`, COLLECT_AGAIN, 'explore/broken-file');
  if (table.rows !== expected || table.rows > MOST_TOKENS)
    throw broken(`has ${table.rows} tokens, but ${FEATURES_FILE} says ${expected}`);
  const texts: string[] = [];
  for (let group = 0; group < table.groups; group++) {
    const { id, text } = await table.read(group, ['id', 'text']);
    for (const [i, one] of (text.values as string[]).entries()) {
      if (id.values[i] !== texts.length) throw broken('does not have its tokens in order');
      texts.push(one);
    }
  }
  return new TokenTexts(texts);
}
