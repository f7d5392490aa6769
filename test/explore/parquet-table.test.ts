import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type TestContext, test } from 'node:test';
import { asyncBufferFromFile, parquetReadObjects } from 'hyparquet';
import { Refusal } from '../../src/errors/refusal.js';
import { ParquetTable } from '../../src/explore/parquet-table.js';
import { EXAMPLE_COLUMNS, FEATURE_COLUMNS, VOCABULARY_COLUMNS } from '../../src/features/folder.js';
import { Generator } from '../../src/random/generator.js';
import { refuses } from '../config/refuses.js';
import { temporaryDirectory } from '../temporary.js';
import { writeSampleFolder } from './sample-folder.js';

const FILES = [
  ['gated/features-00000.parquet', FEATURE_COLUMNS],
  ['gated/examples-00000.parquet', EXAMPLE_COLUMNS],
  ['vocabulary.parquet', VOCABULARY_COLUMNS],
] as const;

async function sample(t: TestContext, features = 1100) {
  const directory = temporaryDirectory(t);
  await writeSampleFolder(directory, { features, top: 3, perBand: 1 });
  return directory;
}

/** Every row of a table as objects of plain numbers, lists and texts. */
async function rowsOf(table: ParquetTable, names: readonly string[]) {
  const rows: Record<string, unknown>[] = [];
  for (let group = 0; group < table.groups; group++) {
    const columns = await table.read(group, names);
    for (let i = 0; i < table.firstRow[group + 1]! - table.firstRow[group]!; i++) {
      const row = names.map((name) => {
        const { values, offsets } = columns[name]!;
        return [name, offsets ? [...values.slice(offsets[i], offsets[i + 1])] : values[i]];
      });
      rows.push(Object.fromEntries(row));
    }
  }
  return rows;
}

test('every column of every file reads as hyparquet reads it', async (t) => {
  const directory = await sample(t);
  const plain = (value: unknown): unknown =>
    Array.isArray(value) ? value.map(plain) : typeof value === 'bigint' ? Number(value) : value;
  for (const [name, columns] of FILES) {
    const path = join(directory, name);
    const table = await ParquetTable.open(path, columns);
    const expected = await parquetReadObjects({ file: await asyncBufferFromFile(path) });
    const names = columns.map((column) => column.name);
    const found = await rowsOf(table, names);
    assert.deepEqual(
      found,
      expected.map((row) => Object.fromEntries(names.map((column) => [column, plain(row[column])]))),
    );
    assert.equal(table.rows, expected.length);
  }
});

test('a column that is missing, or of another type, is refused by its name', async (t) => {
  const directory = await sample(t, 10);
  const path = join(directory, 'gated', 'features-00000.parquet');
  for (const [column, what] of [
    [{ name: 'nothing', type: 'INT32' }, 'no column "nothing"'],
    [{ name: 'max', type: 'INT32' }, 'column "max" is not of type INT32'],
    [{ name: 'max', type: 'FLOAT', list: true }, 'column "max" is not a list of FLOAT'],
    [{ name: 'top_logits', type: 'FLOAT' }, 'column "top_logits" is not of type FLOAT'],
  ] as const) {
    await refuses(() => ParquetTable.open(path, [column]), 'explore/broken-file', path, what);
  }
  await refuses(() => ParquetTable.open(`${path}x`, []), 'explore/no-file', `${path}x`);
});

test('a file that is replaced while it is in use is refused', async (t) => {
  const directory = await sample(t, 10);
  const path = join(directory, 'vocabulary.parquet');
  const table = await ParquetTable.open(path, VOCABULARY_COLUMNS);
  writeFileSync(path, readFileSync(path).subarray(1));
  await refuses(() => table.read(0, ['id']), 'explore/broken-file', path, 'replaced');
});

test('damaged bytes are refused in a sentence or read as other numbers; nothing else happens', async (t) => {
  const directory = await sample(t, 70);
  const random = new Generator(5);
  for (const [name, columns] of FILES) {
    const path = join(directory, name);
    const whole = readFileSync(path);
    let refused = 0;
    for (let round = 0; round < 250; round++) {
      const bytes = Buffer.from(whole);
      const kind = random.below(4);
      for (let k = 0; k < 1 + random.below(4); k++) bytes[placeIn(bytes.length, kind, random)] = random.below(256);
      writeFileSync(path, kind === 3 ? bytes.subarray(0, random.below(bytes.length)) : bytes);
      try {
        const table = await ParquetTable.open(path, columns);
        await rowsOf(
          table,
          columns.map((column) => column.name),
        );
      } catch (error) {
        assert.ok(error instanceof Refusal, String((error as Error).stack));
        assert.equal(error.code, 'explore/broken-file');
        refused++;
      }
    }
    assert.ok(refused > 50, `${name}: only ${refused} were refused`);
  }
});

/** A place anywhere, or in the footer (half of a small file), where lengths stand. */
function placeIn(length: number, kind: number, random: Generator): number {
  return kind === 0 ? random.below(length) : length - 1 - random.below(Math.min(length, 3000));
}

test('rows of a group are those of the whole group, whatever the range', async (t) => {
  const directory = await sample(t, 1100);
  for (const [name, columns] of FILES) {
    const table = await ParquetTable.open(join(directory, name), columns);
    const names = columns.map((column) => column.name);
    const bytes = await table.bytes(0, names);
    const whole = await table.read(0, names);
    const rows = table.firstRow[1]!;
    for (const [from, to] of [
      [0, 1],
      [5, 6],
      [5, 9],
      [rows - 1, rows],
      [rows, rows],
      [0, rows],
    ] as const) {
      const part = table.decode(bytes, 0, [from, to]);
      for (const column of names) {
        const { values, offsets } = whole[column]!;
        if (offsets) {
          const own = part[column]!.offsets!;
          assert.deepEqual(
            [...own],
            [...offsets.slice(from, to + 1)].map((offset) => offset - offsets[from]!),
          );
          assert.deepEqual([...part[column]!.values], [...values.slice(offsets[from], offsets[to])]);
        } else assert.deepEqual([...part[column]!.values], [...values.slice(from, to)]);
      }
    }
  }
});

test('a file that another tool has rewritten is read the same: pages of version 1, columns that could have nulls', async () => {
  const columns = [
    { name: 'feature', type: 'INT32' },
    { name: 'active_tokens', type: 'INT64' },
    { name: 'frequency', type: 'DOUBLE' },
    { name: 'tokens', type: 'INT32', list: true },
    { name: 'activations', type: 'FLOAT', list: true },
    { name: 'text', type: 'STRING' },
  ] as const;
  const table = await ParquetTable.open('test/explore/fixtures/rewritten.parquet', columns);
  assert.deepEqual([...table.firstRow], [0, 30, 60, 90, 100]);
  const found = await rowsOf(
    table,
    columns.map(({ name }) => name),
  );
  const list = (length: number, value: (k: number) => number) => Array.from({ length }, (_, k) => value(k));
  assert.deepEqual(
    found,
    list(100, (i) => i).map((i) => ({
      ...{ feature: i, active_tokens: 2 ** 40 + i, frequency: i / 64, text: `token ${i % 7}` },
      tokens: list(i % 4, (k) => i * k),
      activations: list(i % 3, (k) => k / 4),
    })),
  );
});
