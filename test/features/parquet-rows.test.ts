import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects } from 'hyparquet';
import {
  EXAMPLE_COLUMNS,
  EXAMPLE_GROUP,
  FEATURE_COLUMNS,
  FEATURE_GROUP,
  type StoredExample,
  type StoredFeature,
} from '../../src/features/folder.js';
import { writeExampleRows, writeFeatureRows, writeVocabularyRows } from '../../src/features/parquet-rows.js';
import { temporaryDirectory } from '../temporary.js';

const NO_LISTS = Object.fromEntries(FEATURE_COLUMNS.filter((column) => 'list' in column).map(({ name }) => [name, []]));
const NO_NUMBERS = Object.fromEntries(FEATURE_COLUMNS.filter((c) => !('list' in c)).map(({ name }) => [name, 0]));

const featureRow = (feature: number): StoredFeature =>
  ({
    ...NO_NUMBERS,
    ...NO_LISTS,
    feature,
    // Beyond 32 bits, and beyond what a double holds next to them.
    active_tokens: 2 ** 40 + feature,
    frequency: 1 / 3,
    max: 0.5,
    histogram: feature % 3 === 0 ? [] : [1, 2 ** 33],
    top_logits: [0.25, -0.5],
  }) as unknown as StoredFeature;

const exampleRow = (feature: number, rank: number): StoredExample => ({
  ...{ feature, band: 0, rank, value: 1.5, context: 2 ** 33, position: 3, first: 0 },
  tokens: [1, feature, 3],
  activations: [0, 1.5, 0],
});

async function readBack(path: string) {
  const file = await asyncBufferFromFile(path);
  const metadata = await parquetMetadataAsync(file);
  return { metadata, rows: await parquetReadObjects({ file, metadata }) };
}

test('features come back as they were written, empty lists and 64-bit counts included', async (t) => {
  const path = join(temporaryDirectory(t), 'features-00000.parquet');
  const rows = Array.from({ length: FEATURE_GROUP + 5 }, (_, j) => featureRow(j));
  await writeFeatureRows(path, rows);
  const read = await readBack(path);
  const integers = new Set<string>(FEATURE_COLUMNS.filter(({ type }) => type === 'INT64').map(({ name }) => name));
  const asNumbers = (value: unknown) => (Array.isArray(value) ? value.map(Number) : Number(value));
  const found = read.rows.map((row) =>
    Object.fromEntries(
      Object.entries(row).map(([name, value]) => [name, integers.has(name) ? asNumbers(value) : value]),
    ),
  );
  assert.deepEqual(found, rows);
  assert.deepEqual(
    read.metadata.row_groups.map(({ num_rows }) => Number(num_rows)),
    [FEATURE_GROUP, 5],
  );
  assert.deepEqual(readdirSync(join(path, '..')), ['features-00000.parquet']);
});

test('a row group of examples has complete features, also where some have none', async (t) => {
  const path = join(temporaryDirectory(t), 'examples-00000.parquet');
  // Every third feature is dead.
  const alive = Array.from({ length: 2 * EXAMPLE_GROUP + 1 }, (_, j) => j).filter((j) => j % 3 !== 0);
  await writeExampleRows(
    path,
    alive.flatMap((j) => [exampleRow(j, 0), exampleRow(j, 1)]),
  );
  const { metadata, rows } = await readBack(path);
  let from = 0;
  const groups = metadata.row_groups.map(({ num_rows }) => {
    const group = rows.slice(from, from + Number(num_rows));
    from += Number(num_rows);
    return new Set(group.map(({ feature }) => Math.floor(feature / EXAMPLE_GROUP)));
  });
  assert.deepEqual(
    groups.map((set) => [...set]),
    [[0], [1], [2]].slice(0, groups.length),
  );
  assert.equal(rows.length, 2 * alive.length);
  assert.deepEqual(Object.keys(rows[0]!), EXAMPLE_COLUMNS.map(({ name }) => name) as string[]);
  assert.deepEqual(rows[3]!.tokens, [1, 2, 3]);
});

test('a file of no rows, and text that is hostile, come back', async (t) => {
  const directory = temporaryDirectory(t);
  await writeExampleRows(join(directory, 'examples-00000.parquet'), []);
  assert.deepEqual((await readBack(join(directory, 'examples-00000.parquet'))).rows, []);
  const texts = ['', ' a', '<script>', '<0xE2>', '\u0000\n', '한국'];
  await writeVocabularyRows(
    join(directory, 'vocabulary.parquet'),
    texts.map((text, id) => ({ id, text })),
  );
  assert.deepEqual(
    (await readBack(join(directory, 'vocabulary.parquet'))).rows.map(({ text }) => text),
    texts,
  );
});

test('rows that fail half-way leave no file', async (t) => {
  const path = join(temporaryDirectory(t), 'features-00000.parquet');
  async function* rows() {
    yield featureRow(0);
    throw new Error('no more');
  }
  await assert.rejects(writeFeatureRows(path, rows()), /no more/);
  assert.ok(!existsSync(path));
  assert.deepEqual(readdirSync(join(path, '..')), []);
});
