import type { FileHandle } from 'node:fs/promises';
import type { SchemaElement } from 'hyparquet';
import { ByteWriter, ParquetWriter } from 'hyparquet-writer';
import { writeAside } from '../disk/output-file.js';
import {
  type Columns,
  EXAMPLE_COLUMNS,
  EXAMPLE_GROUP,
  FEATURE_COLUMNS,
  FEATURE_GROUP,
  type RowOf,
  type StoredExample,
  type StoredFeature,
  type StoredToken,
  VOCABULARY_COLUMNS,
} from './folder.js';

type Rows<Row> = Iterable<Row> | AsyncIterable<Row>;

/** Writes a features-*.parquet atomically. Rows are consumed as they come, one row group at a time. */
export function writeFeatureRows(path: string, rows: Rows<StoredFeature>): Promise<void> {
  return writeRows(path, FEATURE_COLUMNS, rows, ({ feature }) => Math.floor(feature / FEATURE_GROUP));
}

/** The same for an examples-*.parquet; rows must come sorted by (feature, band, rank). */
export function writeExampleRows(path: string, rows: Rows<StoredExample>): Promise<void> {
  return writeRows(path, EXAMPLE_COLUMNS, rows, ({ feature }) => Math.floor(feature / EXAMPLE_GROUP));
}

/** Tokens per row group of vocabulary.parquet: it is always read completely. */
const VOCABULARY_GROUP = 65_536;

/** The same for vocabulary.parquet. */
export function writeVocabularyRows(path: string, rows: Rows<StoredToken>): Promise<void> {
  return writeRows(path, VOCABULARY_COLUMNS, rows, ({ id }) => Math.floor(id / VOCABULARY_GROUP));
}

/** @param groupOf number of a row's group; rows of one group are consecutive */
async function writeRows<C extends Columns>(
  path: string,
  columns: C,
  rows: Rows<RowOf<C>>,
  groupOf: (row: RowOf<C>) => number,
): Promise<void> {
  await writeAside(path, async (file) => {
    const writer = new ParquetWriter({
      writer: new FileBytes(file),
      schema: schemaOf(columns),
      createdBy: 'sae-pipe',
      // Only for columns used in filters (columnData).
      statistics: false,
    });
    let group: RowOf<C>[] = [];
    const write = async () => {
      if (group.length > 0) await writer.write({ columnData: columnData(columns, group), rowGroupSize: group.length });
      group = [];
    };
    for await (const row of rows) {
      if (group.length > 0 && groupOf(group[0]!) !== groupOf(row)) await write();
      group.push(row);
    }
    await write();
    await writer.finish();
  });
}

/** Bytes written to a file after each row group. */
class FileBytes extends ByteWriter {
  constructor(private readonly file: FileHandle) {
    super(2 ** 20);
  }

  async flush(): Promise<void> {
    await this.file.writeFile(new Uint8Array(this.buffer, 0, this.index));
    this.index = 0;
  }

  override finish(): Promise<void> {
    return this.flush();
  }
}

/** Nothing is nullable: a list is a required group of repeated, required elements. */
function schemaOf(columns: Columns): SchemaElement[] {
  const leaf = (name: string, type: Columns[number]['type']): SchemaElement =>
    type === 'STRING'
      ? { name, type: 'BYTE_ARRAY', converted_type: 'UTF8', repetition_type: 'REQUIRED' }
      : { name, type, repetition_type: 'REQUIRED' };
  const elements = columns.flatMap(({ name, type, list }): SchemaElement[] =>
    list
      ? [
          { name, repetition_type: 'REQUIRED', num_children: 1, converted_type: 'LIST' },
          { name: 'list', repetition_type: 'REPEATED', num_children: 1 },
          leaf('element', type),
        ]
      : [leaf(name, type)],
  );
  return [{ name: 'root', num_children: columns.length }, ...elements];
}

function columnData<C extends Columns>(columns: C, rows: readonly RowOf<C>[]) {
  return columns.map(({ name, type, list }) => {
    const cells = rows.map((row) => (row as Readonly<Record<string, unknown>>)[name]);
    const data =
      type !== 'INT64' ? cells : cells.map((cell) => (list ? (cell as number[]).map(BigInt) : BigInt(cell as number)));
    return { name, data, statistics: !list };
  });
}
