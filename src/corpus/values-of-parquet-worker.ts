import { isUtf8 } from 'node:buffer';
import { parentPort, workerData } from 'node:worker_threads';
import { type FileMetaData, parquetScan, parquetSchema } from 'hyparquet';
import { Refusal, type RefusedReply, refusedReply } from '../errors/refusal.js';
import { COMPRESSORS, checkApart, chunkRange, groupOf, MOST_PAGE, openParquet } from './parquet-file.js';
import { alongRanges, type ByteRange, type FilePlace } from './remote-file.js';

/** The worker's input. */
export interface ParquetValuesTask {
  readonly place: FilePlace;
  /** The column to read. */
  readonly field: string;
  /** First row. */
  readonly from: number;
}

/** One reply per request. */
export type ParquetValuesReply =
  /** The column's values as JSON; null for rows without one. */
  | { readonly kind: 'rows'; readonly rows: readonly unknown[] }
  | { readonly kind: 'end' }
  | { readonly kind: 'no text'; readonly what: string; readonly columns: readonly string[] }
  | { readonly kind: 'failed'; readonly reason: string }
  | RefusedReply;

/** Max rows of a reply, since replies are copied to the other thread. */
const ROWS = 256;

async function* repliesOf({ place, field, from }: ParquetValuesTask): AsyncGenerator<ParquetValuesReply> {
  const { source, metadata } = await openParquet(place);
  try {
    const columns = parquetSchema(metadata).children.map(({ element }) => element.name);
    const same = columns.filter((name) => name === field).length;
    if (same !== 1) {
      yield { kind: 'no text', what: `has ${same === 0 ? 'no column' : `${same} columns`} "${field}"`, columns };
      return;
    }
    const { groups } = groupOf(
      metadata.row_groups.map(({ num_rows }) => Number(num_rows)),
      from,
    );
    const ranges = rangesOf(metadata, field, source.size, groups);
    const along = typeof place === 'string' ? source : alongRanges(source, ranges);
    const file = {
      byteLength: source.size,
      slice: async (start: number, end = source.size) => (await along.read(start, end)).buffer,
    };
    const parsers = { stringFromBytes: textOf };
    const columnsRead = { columns: [field], useOffsetIndex: false };
    const scan = await parquetScan({ file, metadata, compressors: BOUNDED, parsers, ...columnsRead });
    for (const range of scan.ranges) {
      if (range.rowEnd <= from) continue;
      const values = Array.from(await scan.readColumn({ column: field, ...range }), asJson);
      for (let at = Math.max(0, from - range.rowStart); at < values.length; at += ROWS)
        yield { kind: 'rows', rows: values.slice(at, at + ROWS) };
    }
  } finally {
    await source.close();
  }
}

/**
 * Byte ranges of the column's parts in reading order: by row group, and within it by position.
 *
 * @param groups number of leading row groups to skip
 * @throws Error if they are not in this file, or overlap
 */
function rangesOf({ row_groups }: FileMetaData, field: string, size: number, groups: number): ByteRange[] {
  const ranges = row_groups.map(({ columns }) =>
    columns
      .filter(({ meta_data }) => meta_data?.path_in_schema[0] === field)
      .map((chunk) => chunkRange(chunk, size))
      .sort(([a], [b]) => a - b),
  );
  checkApart(ranges.flat());
  return ranges.slice(groups).flat();
}

const BOUNDED = Object.fromEntries(
  Object.entries({ ...COMPRESSORS }).map(([name, unpack]) => [
    name,
    (bytes: Uint8Array, length: number) => {
      if (!(length >= 0 && length <= MOST_PAGE))
        throw new Error(`a page of ${length} bytes is longer than ${MOST_PAGE}`);
      return unpack!(bytes, length);
    },
  ]),
);

function textOf(bytes: Uint8Array): string {
  if (!isUtf8(bytes)) throw new Error('a text in it is not valid UTF-8');
  return Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('utf8');
}

/** A value as JSON. */
function asJson(value: unknown): unknown {
  if (typeof value === 'bigint') return Number(value);
  if (value instanceof Date) return value.toISOString();
  if (value === undefined) return null;
  if (Array.isArray(value) || ArrayBuffer.isView(value)) return Array.from(value as ArrayLike<unknown>, asJson);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, asJson(one)]));
}

if (!parentPort) throw new Error('values-of-parquet-worker.js runs in a worker thread');
const port = parentPort;
const replies = repliesOf(workerData as ParquetValuesTask);
port.on('message', () => {
  replies.next().then(
    ({ value, done }) => port.postMessage((done ? { kind: 'end' } : value) satisfies ParquetValuesReply),
    (cause: unknown) => {
      const reason = cause instanceof Error ? cause.message : String(cause);
      const reply: ParquetValuesReply = cause instanceof Refusal ? refusedReply(cause) : { kind: 'failed', reason };
      port.postMessage(reply);
    },
  );
});
