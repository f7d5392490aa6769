import { join } from 'node:path';
import { Refusal } from '../errors/refusal.js';
import { FEATURE_COLUMNS, type FeaturesOfSae, FILE_FEATURES, featuresFile, fileCount } from '../features/folder.js';
import type { Progress } from '../progress/progress.js';
import type { DecodedColumn } from './parquet-column.js';
import { ParquetTable } from './parquet-table.js';
import { type FeatureColumns, type NumberColumn, numberColumns } from './query.js';

/** Tokens at peaks, and tokens of the largest logits, to load per feature. */
const KEPT_PEAKS = 5;
const KEPT_LOGITS = 10;

/** Source column of each number in a list. For list columns, the first element: that of the nearest neighbour. */
const SOURCES = {
  frequency: 'frequency',
  max: 'max',
  mean: 'mean_active',
  normShare: 'norm_share',
  decoderNorm: 'decoder_norm',
  encoderNorm: 'encoder_norm',
  encoderDecoderCosine: 'encoder_decoder_cosine',
  decoderCosine: 'decoder_cosines',
  encoderCosine: 'encoder_cosines',
} as const satisfies Record<NumberColumn, (typeof FEATURE_COLUMNS)[number]['name']>;

/** The features-*.parquet of an SAE, in order. */
export async function openFeatureTables(directory: string, dSae: number): Promise<ParquetTable[]> {
  const tables: ParquetTable[] = [];
  for (let i = 0; i < fileCount(dSae); i++) {
    const path = join(directory, featuresFile(i));
    const table = await ParquetTable.open(path, FEATURE_COLUMNS);
    const expected = Math.min(FILE_FEATURES, dSae - i * FILE_FEATURES);
    if (table.rows !== expected) throw wrongFile(path, `has ${table.rows} rows instead of ${expected}`);
    tables.push(table);
  }
  return tables;
}

/** The error for a readable file with wrong contents. */
export function wrongFile(path: string, what: string): Refusal {
  return new Refusal(
    `${path} ${what}.`,
    'Collect the features again (`sae-pipe features`), or download the folder again.',
    'explore/broken-file',
  );
}

/**
 * Loads what lists need for every feature: 9 numbers and 15 tokens, 96 bytes each.
 *
 * @throws Refusal if a file is damaged
 */
export async function loadColumns(
  tables: readonly ParquetTable[],
  { name, d_sae: features }: Pick<FeaturesOfSae, 'name' | 'd_sae'>,
  progress: Progress,
): Promise<FeatureColumns> {
  const numbers = Object.fromEntries(
    numberColumns.map((column) => [column, new Float32Array(features).fill(Number.NaN)]),
  );
  const peakTokens = new Int32Array(features * KEPT_PEAKS).fill(-1);
  const logitTokens = new Int32Array(features * KEPT_LOGITS).fill(-1);
  const names = ['feature', 'peak_tokens', 'top_logit_tokens', ...Object.values(SOURCES)] as const;
  progress.begin(`reading features of ${name}`, features, 'feature');
  let first = 0;
  for (const table of tables) {
    for (let group = 0; group < table.groups; group++) {
      const found = await table.read(group, names);
      const rows = table.firstRow[group + 1]! - table.firstRow[group]!;
      checkOrder(found.feature, first, table.path);
      for (const column of numberColumns) takeNumbers(numbers[column]!, found[SOURCES[column]], first, rows);
      takeTokens(peakTokens, KEPT_PEAKS, found.peak_tokens, first, rows);
      takeTokens(logitTokens, KEPT_LOGITS, found.top_logit_tokens, first, rows);
      first += rows;
      progress.update(first);
    }
  }
  progress.end();
  return { features, numbers: numbers as Record<NumberColumn, Float32Array>, tokens: { peakTokens, logitTokens } };
}

function checkOrder({ values }: DecodedColumn, first: number, path: string): void {
  for (const [i, feature] of (values as Int32Array).entries())
    if (feature !== first + i) throw wrongFile(path, 'does not have its features in order');
}

function takeNumbers(into: Float32Array, { values, offsets }: DecodedColumn, first: number, rows: number): void {
  const numbers = values as Float64Array;
  if (offsets === null) {
    into.set(numbers, first);
    return;
  }
  for (let i = 0; i < rows; i++) {
    if (offsets[i + 1]! > offsets[i]!) into[first + i] = numbers[offsets[i]!]!;
  }
}

function takeTokens(into: Int32Array, most: number, column: DecodedColumn, first: number, rows: number): void {
  const tokens = column.values as Int32Array;
  const offsets = column.offsets!;
  for (let i = 0; i < rows; i++) {
    const count = Math.min(most, offsets[i + 1]! - offsets[i]!);
    for (let k = 0; k < count; k++) into[(first + i) * most + k] = tokens[offsets[i]! + k]!;
  }
}
