import { type FileMetaData, parquetMetadataAsync, type SchemaElement } from 'hyparquet';
import { openRegular, type RegularFile } from '../disk/input-file.js';
import { Refusal } from '../errors/refusal.js';
import type { Columns } from '../features/folder.js';
import {
  type ColumnChunk,
  type ColumnType,
  type DecodedColumn,
  decodeColumn,
  MOST_DECODED,
  type RowRange,
} from './parquet-column.js';

/** Max bytes of a footer: parsed, it takes fifty times as many. A file of 256 row groups has 300 kB. */
const MOST_FOOTER = 2 ** 22;
/** Max bytes of a row group to read at a time. */
const MOST_GROUP = 2 ** 28;
/** Numbers kept per chunk: its offset, its bytes, its entries. */
const FACTS = 3;

/** A column across all row groups of a file. */
interface TableColumn extends Pick<ColumnChunk, 'type' | 'maxDefinition' | 'listDefinition' | 'codec'> {
  /** [groups × FACTS] */
  readonly chunks: Float64Array;
}

/**
 * A Parquet file with known columns, read one row group at a time. Its footer is not trusted: sizes are bounded, and
 * offsets checked against the file. The file is open only while something is read.
 */
export class ParquetTable {
  private constructor(
    readonly path: string,
    private readonly size: number,
    /** [groups + 1]: group g has rows firstRow[g] … firstRow[g + 1] − 1. */
    readonly firstRow: Int32Array,
    private readonly columns: ReadonlyMap<string, TableColumn>,
  ) {}

  /**
   * @param columns must exist with these types; others may exist too
   * @throws Refusal if there is no such file, or its contents are wrong
   */
  static async open(path: string, columns: Columns): Promise<ParquetTable> {
    return withFile(path, undefined, async (file) => {
      const metadata = await footerOf(file);
      const firstRow = firstRows(metadata);
      const found = new Map(columns.map((column) => [column.name, tableColumn(column, metadata, firstRow, file.size)]));
      return new ParquetTable(path, file.size, firstRow, found);
    });
  }

  get groups(): number {
    return this.firstRow.length - 1;
  }

  get rows(): number {
    return this.firstRow[this.groups]!;
  }

  /**
   * Columns in a row group, by name.
   *
   * @throws Refusal if the file is damaged, or has changed since it was opened
   */
  async read<Name extends string>(group: number, names: readonly Name[]): Promise<Record<Name, DecodedColumn>> {
    return this.decode(await this.bytes(group, names), group);
  }

  /** The stored bytes of columns in a row group, by name. */
  bytes<Name extends string>(group: number, names: readonly Name[]): Promise<Record<Name, Uint8Array>> {
    return withFile(this.path, this.size, async (file) => {
      const wanted = names.map((name) => {
        const [start, length] = this.facts(group, name);
        return { start, length };
      });
      const pieces = await piecesOf(file, wanted);
      return Object.fromEntries(names.map((name, i) => [name, pieces[i]])) as Record<Name, Uint8Array>;
    });
  }

  /**
   * Rows of columns in a row group.
   *
   * @param bytes from this.bytes
   * @param range rows of the group; all by default
   * @throws Refusal if they are damaged
   */
  decode<Name extends string>(
    bytes: Readonly<Record<Name, Uint8Array>>,
    group: number,
    range?: RowRange,
  ): Record<Name, DecodedColumn> {
    const rows = this.firstRow[group + 1]! - this.firstRow[group]!;
    try {
      const columns = Object.entries<Uint8Array>(bytes).map(([name, piece]) => {
        const { chunks: _, ...shape } = this.columns.get(name)!;
        return [name, decodeColumn(piece, { ...shape, rows, entries: this.facts(group, name)[2] }, range)];
      });
      return Object.fromEntries(columns) as Record<Name, DecodedColumn>;
    } catch (cause) {
      throw unreadable(this.path, cause);
    }
  }

  private facts(group: number, name: string): [start: number, length: number, entries: number] {
    const { chunks } = this.columns.get(name)!;
    return [...chunks.subarray(group * FACTS, (group + 1) * FACTS)] as [number, number, number];
  }
}

/** Opens a file for the duration of `use`; errors become a Refusal about it. */
async function withFile<T>(path: string, size: number | undefined, use: (file: RegularFile) => Promise<T>): Promise<T> {
  const file = await openRegular(path);
  if (!file) throw new Refusal(`${path} does not exist.`, COLLECT_AGAIN, 'explore/no-file');
  try {
    if (size !== undefined && file.size !== size) throw new Error('it was replaced while it was in use');
    return await use(file);
  } catch (cause) {
    throw unreadable(path, cause);
  } finally {
    await file.handle.close();
  }
}

function unreadable(path: string, cause: unknown): Refusal {
  if (cause instanceof Refusal) return cause;
  const why = (cause as Error).message;
  return new Refusal(`${path} could not be read as Parquet: ${why}.`, COLLECT_AGAIN, 'explore/broken-file', { cause });
}

const COLLECT_AGAIN = 'Collect the features again (`sae-pipe features`), or download the folder again.';

async function footerOf({ handle, size }: RegularFile): Promise<FileMetaData> {
  if (size < 12) throw new Error('it is too short');
  const tail = await bytesBetween({ handle, size }, size - 8, size);
  const length = new DataView(tail.buffer).getUint32(0, true);
  if (length > MOST_FOOTER) throw new Error(`its footer claims ${length} bytes`);
  const slice = async (start: number, end = size) => (await bytesBetween({ handle, size }, start, end)).buffer;
  return parquetMetadataAsync(
    { byteLength: size, slice },
    { initialFetchSize: Math.min(size, length + 8), geoparquet: false },
  );
}

async function bytesBetween(
  { handle, size }: Pick<RegularFile, 'handle' | 'size'>,
  start: number,
  end: number,
): Promise<Uint8Array<ArrayBuffer>> {
  if (!(start >= 0 && start <= end && end <= size)) throw new Error('a part of it lies outside of it');
  const bytes = new Uint8Array(end - start);
  for (let filled = 0; filled < bytes.length; ) {
    const { bytesRead } = await handle.read(bytes, filled, bytes.length - filled, start + filled);
    if (bytesRead === 0) throw new Error('it ends too early');
    filled += bytesRead;
  }
  return bytes;
}

function firstRows({ row_groups: groups }: FileMetaData): Int32Array {
  const firstRow = new Int32Array(groups.length + 1);
  let rows = 0;
  for (const [g, { num_rows: count }] of groups.entries()) {
    rows += Number(count);
    if (!(count >= 0 && rows <= MOST_DECODED)) throw new Error(`it claims ${rows} rows`);
    firstRow[g + 1] = rows;
  }
  return firstRow;
}

/** Type and levels of a column, from the schema, which lists groups before their contents. */
function shapeOf({ name, type, list }: Columns[number], schema: readonly SchemaElement[]) {
  const at = topLevel(schema).get(name);
  if (at === undefined) throw new Error(`it has no column "${name}"`);
  const element = schema[at]!;
  const wanted: ColumnType = type === 'STRING' ? 'BYTE_ARRAY' : type;
  const wrong = () => new Error(`its column "${name}" is not ${list ? 'a list of' : 'of type'} ${type}`);
  const optional = (one: SchemaElement) => (one.repetition_type === 'OPTIONAL' ? 1 : 0);
  if (!list) {
    if (element.type !== wanted || element.repetition_type === 'REPEATED') throw wrong();
    return { type: wanted, path: name, maxDefinition: optional(element), listDefinition: 0 };
  }
  const [middle, leaf] = [schema[at + 1], schema[at + 2]];
  const nested = element.num_children === 1 && middle?.num_children === 1 && leaf?.num_children === undefined;
  if (!nested || middle?.repetition_type !== 'REPEATED' || leaf?.type !== wanted) throw wrong();
  const listDefinition = optional(element) + 1;
  const path = [name, middle.name, leaf.name].join('.');
  return { type: wanted, path, maxDefinition: listDefinition + optional(leaf), listDefinition };
}

/** Column positions in the schema, by name. */
function topLevel(schema: readonly SchemaElement[]): Map<string, number> {
  const places = new Map<string, number>();
  // Number of child elements still to come in each open group.
  const open: number[] = [];
  for (const [at, { name, num_children: children = 0 }] of schema.entries()) {
    if (open.length === 1 && !places.has(name)) places.set(name, at);
    if (open.length > 0) open.push(open.pop()! - 1);
    if (children > 0) open.push(children);
    while (open.at(-1) === 0) open.pop();
  }
  return places;
}

function tableColumn(
  column: Columns[number],
  { schema, row_groups: groups }: FileMetaData,
  firstRow: Int32Array,
  size: number,
): TableColumn {
  const { path, ...shape } = shapeOf(column, schema);
  const chunks = new Float64Array(groups.length * FACTS);
  let codec: string | undefined;
  for (const [g, { columns }] of groups.entries()) {
    const chunk = columns.find(({ meta_data: facts }) => facts?.path_in_schema.join('.') === path);
    const facts = chunk?.meta_data;
    if (!facts || chunk.file_path) throw new Error(`a row group has no column "${column.name}"`);
    const { dictionary_page_offset: dictionaryAt, data_page_offset: dataAt } = facts;
    const start = Number(dictionaryAt && dictionaryAt < dataAt ? dictionaryAt : dataAt);
    const length = Number(facts.total_compressed_size);
    const entries = Number(facts.num_values);
    const rows = firstRow[g + 1]! - firstRow[g]!;
    if (!(start >= 0 && length >= 0 && start + length <= size)) throw new Error('a row group lies outside of it');
    if (length > MOST_GROUP) throw new Error(`a row group claims ${length} bytes`);
    if (!(entries >= rows && entries <= MOST_DECODED)) throw new Error(`a column claims ${entries} values`);
    codec ??= facts.codec;
    if (facts.codec !== codec || (codec !== 'SNAPPY' && codec !== 'UNCOMPRESSED'))
      throw new Error(`its column "${column.name}" is compressed as ${facts.codec}, which is not supported`);
    chunks.set([start, length, entries], g * FACTS);
  }
  return { ...shape, codec: codec === 'UNCOMPRESSED' ? codec : 'SNAPPY', chunks };
}

/** The bytes of chunks in a row group: in a single read if they are close together. */
async function piecesOf(
  file: RegularFile,
  wanted: readonly { readonly start: number; readonly length: number }[],
): Promise<Uint8Array[]> {
  const start = Math.min(...wanted.map((one) => one.start));
  const end = Math.max(...wanted.map((one) => one.start + one.length));
  const total = wanted.reduce((sum, { length }) => sum + length, 0);
  if (total > MOST_GROUP) throw new Error(`a row group claims ${total} bytes`);
  if (end - start <= 2 * total) {
    const bytes = await bytesBetween(file, start, end);
    return wanted.map((one) => bytes.subarray(one.start - start, one.start - start + one.length));
  }
  const pieces: Uint8Array[] = [];
  for (const one of wanted) pieces.push(await bytesBetween(file, one.start, one.start + one.length));
  return pieces;
}
