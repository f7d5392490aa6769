import { isUtf8 } from 'node:buffer';
import { parentPort, workerData } from 'node:worker_threads';
import { type FileMetaData, parquetSchema } from 'hyparquet';
import { parquetHeader, readPage } from 'hyparquet/src/column.js';
import { convert, DEFAULT_PARSERS } from 'hyparquet/src/convert.js';
import { getTreePath } from 'hyparquet/src/schema.js';
import { Refusal, type RefusedReply, refusedReply } from '../errors/refusal.js';
import { firstWrong, guessEncoding, wholeCharacters } from './encodings.js';
import { COMPRESSORS, checkApart, chunkRange, groupOf, MOST_PAGE, openParquet } from './parquet-file.js';
import { alongRanges, type ByteRange, type ByteSource, type FilePlace } from './remote-file.js';

/** Bytes read to find a page's header: first attempt, and maximum (statistics may contain long texts). */
const HEADER = { first: 8192, most: 2 ** 24 };

/** One text column of a Parquet file. */
interface TextColumn {
  /** Values page by page, as bytes; null for rows without one. */
  pages(): AsyncGenerator<readonly (Uint8Array | null)[]>;
  close(): Promise<void>;
}

/** The file has no text column of this name; the reason as a phrase after the file's name. */
class NoTextColumn extends Error {
  constructor(
    readonly what: string,
    /** Column names of the whole file. */
    readonly columns: readonly string[],
  ) {
    super(what);
  }
}

/**
 * Opens a column of strings. Holds one page and the row group's dictionary in memory at a time: row groups may be of
 * any size.
 *
 * @param from first row; earlier row groups are not read
 * @throws NoTextColumn
 */
async function openTextColumn(place: FilePlace, name: string, from: number): Promise<TextColumn> {
  const { source, metadata } = await openParquet(place);
  try {
    checkColumn(metadata, name);
    const all = chunksOf(metadata, name, source.size);
    const { groups, rows } = groupOf(
      all.map(({ rows }) => rows),
      from,
    );
    const chunks = all.slice(groups);
    const along =
      typeof place === 'string'
        ? source
        : alongRanges(
            source,
            chunks.map(({ range }) => range),
          );
    const pages = () => withoutFirst(pagesOf(along, chunks, metadata, name), rows);
    return { pages, close: () => along.close() };
  } catch (error) {
    await source.close();
    throw error;
  }
}

type ColumnMeta = NonNullable<FileMetaData['row_groups'][number]['columns'][number]['meta_data']>;

/** A column in a row group. */
interface Chunk {
  readonly column: ColumnMeta;
  readonly rows: number;
  /** Byte range of its pages. */
  readonly range: ByteRange;
}

function chunksOf({ row_groups }: FileMetaData, name: string, size: number): Chunk[] {
  const chunks = row_groups.map(({ columns, num_rows }): Chunk => {
    const chunk = columns.find(({ meta_data }) => meta_data?.path_in_schema.join('.') === name);
    if (!chunk?.meta_data) throw new Error(`a row group has no column "${name}"`);
    return { column: chunk.meta_data, rows: Number(num_rows), range: chunkRange(chunk, size) };
  });
  checkApart(chunks.map(({ range }) => range));
  return chunks;
}

/** Pages without the first `rows` values overall. */
async function* withoutFirst<T>(pages: AsyncGenerator<readonly T[]>, rows: number): AsyncGenerator<readonly T[]> {
  let left = rows;
  for await (const values of pages) {
    const dropped = Math.min(left, values.length);
    left -= dropped;
    if (dropped < values.length) yield dropped === 0 ? values : values.slice(dropped);
  }
}

function checkColumn(metadata: FileMetaData, name: string): void {
  const tree = parquetSchema(metadata);
  const columns = tree.children.map(({ element }) => element.name);
  const column = tree.children.find(({ element }) => element.name === name);
  if (!column) throw new NoTextColumn(`has no column "${name}"`, columns);
  const same = columns.filter((other) => other === name).length;
  if (same > 1) throw new NoTextColumn(`has ${same} columns "${name}"`, columns);
  const { type, converted_type: converted, logical_type: logical, repetition_type: repetition } = column.element;
  const isText =
    type === 'BYTE_ARRAY' &&
    (converted === undefined || converted === 'UTF8' || converted === 'ENUM') &&
    (logical === undefined || logical.type === 'STRING' || logical.type === 'ENUM');
  if (column.children.length > 0 || repetition === 'REPEATED' || !isText) {
    throw new NoTextColumn(
      `has no text in column "${name}", which is ${typeInWords(column.element.type, converted, repetition)}`,
      columns,
    );
  }
}

function typeInWords(type: string | undefined, converted: string | undefined, repetition: string | undefined): string {
  if (type === undefined || repetition === 'REPEATED') return 'nested';
  return `of type ${type}${converted ? ` (${converted})` : ''}`;
}

async function* pagesOf(
  source: ByteSource,
  chunks: readonly Chunk[],
  metadata: FileMetaData,
  name: string,
): AsyncGenerator<readonly (Uint8Array | null)[]> {
  const schemaPath = getTreePath(parquetSchema(metadata), [name]);
  for (const { column, rows: wanted, range } of chunks) {
    const [start, end] = range;
    const decoder = {
      ...{ pathInSchema: [name], type: column.type, element: schemaPath.at(-1)!.element, schemaPath },
      ...{ codec: column.codec, compressors: COMPRESSORS },
      // Strings stay bytes: hyparquet decodes invalid UTF-8 as U+FFFD.
      parsers: { ...DEFAULT_PARSERS, stringFromBytes: (bytes: Uint8Array) => bytes as never },
    };
    let dictionary: Parameters<typeof readPage>[3];
    let rows = wanted;
    for (let at = start; rows > 0; ) {
      const { header, length } = await headerAt(source, at, end);
      const page = await pageAt(source, at + length, end, header);
      at += length + page.byteLength;
      const read = () => readPage({ view: new DataView(page), offset: 0 }, header, decoder, dictionary, undefined, 0);
      if (header.type === 'DICTIONARY_PAGE') {
        dictionary = convert(read().data!, decoder);
        continue;
      }
      const count = (header.data_page_header ?? header.data_page_header_v2)?.num_values ?? -1;
      if (count < 0 || count > rows) throw new Error('a page has more values than its row group has rows');
      if (count === 0) continue;
      const values = Array.from(read().data ?? []);
      if (values.length !== count || !values.every(isTextValue))
        throw new Error('a page does not have the values that it claims');
      rows -= count;
      yield values as (Uint8Array | null)[];
    }
  }
}

/** Missing values are undefined, as opposed to null. */
const isTextValue = (value: unknown): value is Uint8Array | null => value === null || value instanceof Uint8Array;

type Header = ReturnType<typeof parquetHeader>;

async function headerAt(source: ByteSource, at: number, end: number): Promise<{ header: Header; length: number }> {
  for (let window = HEADER.first; ; window *= 8) {
    const most = Math.min(end, at + window);
    if (most <= at) throw new Error('a row group ends before its last row');
    const reader = { view: new DataView((await source.read(at, most)).buffer), offset: 0 };
    try {
      return { header: parquetHeader(reader), length: reader.offset };
    } catch (error) {
      // It may extend beyond the bytes read.
      if (!(error instanceof RangeError) || most === end || window >= HEADER.most) throw error;
    }
  }
}

async function pageAt(source: ByteSource, at: number, end: number, header: Header): Promise<ArrayBuffer> {
  const { compressed_page_size: packed, uncompressed_page_size: whole } = header;
  if (!(packed >= 0 && packed <= end - at)) throw new Error('a page reaches beyond its column');
  if (!(whole >= 0 && whole <= MOST_PAGE)) throw new Error(`a page of ${whole} bytes is longer than ${MOST_PAGE}`);
  return (await source.read(at, at + packed)).buffer;
}

/** The worker's input. */
export interface ParquetTask {
  readonly place: FilePlace;
  readonly textField: string;
  /** First row. */
  readonly from: number;
}

/** Part of a row's text. */
export interface RowPart {
  /** Null: the row has no text. */
  readonly text: string | null;
  /** Is it the last part of the row? */
  readonly last: boolean;
}

/** One reply per request. */
export type ParquetReply =
  | { readonly kind: 'parts'; readonly parts: readonly RowPart[] }
  | { readonly kind: 'end' }
  | { readonly kind: 'no text'; readonly what: string; readonly columns: readonly string[] }
  | { readonly kind: 'not utf-8'; readonly row: number; readonly at: number; readonly looksLike: string }
  | { readonly kind: 'failed'; readonly reason: string }
  | RefusedReply;

/**
 * Max size of a reply, since replies are copied to the other thread. The limit on characters may be exceeded by one
 * part.
 */
const MOST_IN_REPLY = { parts: 1000, characters: 2 ** 18 };
/** Max bytes of a part. */
const PART = 2 ** 18;

/** The texts of the column, page by page, in replies of bounded size. */
async function* repliesOf({ place, textField, from }: ParquetTask): AsyncGenerator<ParquetReply> {
  const column = await openTextColumn(place, textField, from);
  try {
    let parts: RowPart[] = [];
    let characters = 0;
    let row = from;
    for await (const values of column.pages()) {
      for (const value of values) {
        const bytes = value && Buffer.from(value.buffer, value.byteOffset, value.byteLength);
        if (bytes && !isUtf8(bytes)) {
          const at = firstWrong(bytes, false);
          yield { kind: 'not utf-8', row, at, looksLike: guessEncoding(bytes, bytes.subarray(at)).what };
          return;
        }
        for (const part of bytes ? textParts(bytes) : NULL) {
          parts.push(part);
          characters += part.text?.length ?? 0;
          if (parts.length < MOST_IN_REPLY.parts && characters < MOST_IN_REPLY.characters) continue;
          yield { kind: 'parts', parts };
          parts = [];
          characters = 0;
        }
        row++;
      }
    }
    if (parts.length > 0) yield { kind: 'parts', parts };
  } finally {
    await column.close();
  }
}

const NULL: readonly RowPart[] = [{ text: null, last: true }];

function* textParts(bytes: Buffer): Generator<RowPart> {
  let from = 0;
  while (bytes.length - from > PART) {
    const part = bytes.subarray(from, from + PART);
    const whole = part.subarray(0, wholeCharacters(part));
    yield { text: whole.toString('utf8'), last: false };
    from += whole.length;
  }
  yield { text: bytes.toString('utf8', from), last: true };
}

function failureReply(cause: unknown): ParquetReply {
  if (cause instanceof Refusal) return refusedReply(cause);
  if (cause instanceof NoTextColumn) return { kind: 'no text', what: cause.what, columns: cause.columns };
  return { kind: 'failed', reason: cause instanceof Error ? cause.message : String(cause) };
}

if (!parentPort) throw new Error('parquet-worker.js runs in a worker thread');
const port = parentPort;
const replies = repliesOf(workerData as ParquetTask);
port.on('message', () => {
  replies.next().then(
    ({ value, done }) => port.postMessage(done ? { kind: 'end' } : value),
    (cause) => port.postMessage(failureReply(cause)),
  );
});
