import type { FileHandle } from 'node:fs/promises';
import { brotliDecompressSync, unzipSync } from 'node:zlib';
import { type Compressors, type FileMetaData, parquetMetadataAsync } from 'hyparquet';
import { decompressLz4, decompressLz4Raw, decompressZstd } from 'hyparquet-compressors';
import { openRegular } from '../disk/input-file.js';
import { type ByteRange, type ByteSource, type FilePlace, RemoteFile } from './remote-file.js';
import { checkFrame } from './unpacked.js';

// The parts of a Parquet file above its columns: bytes, footer, and row group metadata.

/** Max bytes of a decompressed page; writers make pages of 1 MiB to 100 MB. */
export const MOST_PAGE = 2 ** 29;
/** Opens a file, on disk or on the hub, and reads its footer. */
export async function openParquet(place: FilePlace): Promise<{ source: ByteSource; metadata: FileMetaData }> {
  const remote = typeof place !== 'string';
  const source = remote ? await RemoteFile.open(place) : await openLocal(place);
  try {
    return { source, metadata: await footerOf(source, remote ? REMOTE_FOOTER : undefined) };
  } catch (error) {
    await source.close();
    throw error;
  }
}

async function openLocal(path: string): Promise<ByteSource> {
  const opened = await openRegular(path);
  if (!opened) throw new Error('it does not exist');
  const { handle, size } = opened;
  return { size, read: (start, end) => bytesBetween(handle, start, end), close: () => handle.close() };
}

/** Bytes at the end of a hub file to fetch first; most footers fit, others take a second request. */
const REMOTE_FOOTER = 2 ** 15;
/** Max bytes of a footer: its length field is not trusted. */
const MOST_FOOTER = 2 ** 28;

async function footerOf(source: ByteSource, initialFetchSize?: number): Promise<FileMetaData> {
  const { size } = source;
  const slice = async (start: number, end = size) => {
    if (end - start > MOST_FOOTER) throw new Error('its footer is too long');
    return (await source.read(start, end)).buffer;
  };
  return parquetMetadataAsync({ byteLength: size, slice }, { ...(initialFetchSize && { initialFetchSize }) });
}

type ColumnChunk = FileMetaData['row_groups'][number]['columns'][number];

/** Byte range of a column's pages in a row group. @throws Error if that is not in this file */
export function chunkRange({ meta_data: column, file_path }: ColumnChunk, size: number): ByteRange {
  if (file_path) throw new Error('its rows are in another file');
  const { dictionary_page_offset: dictionaryAt, data_page_offset: dataAt, total_compressed_size } = column!;
  const start = Number(dictionaryAt && dictionaryAt < dataAt ? dictionaryAt : dataAt);
  const end = start + Number(total_compressed_size);
  if (!(start >= 0 && start <= end && end <= size)) throw new Error('a row group lies outside of the file');
  return [start, end];
}

/**
 * Locates a row.
 *
 * @param sizes rows per row group
 * @returns number of row groups before it, and of rows before it in its own
 */
export function groupOf(sizes: readonly number[], row: number): { groups: number; rows: number } {
  let rows = row;
  let groups = 0;
  for (; groups < sizes.length && rows >= sizes[groups]!; groups++) rows -= sizes[groups]!;
  return { groups, rows };
}

/** @throws Error if ranges overlap: the same text would be read twice */
export function checkApart(ranges: readonly ByteRange[]): void {
  const sorted = ranges.toSorted(([a], [b]) => a - b);
  if (sorted.some(([start], i) => i > 0 && start < sorted[i - 1]![1])) throw new Error('its row groups overlap');
}

/** Bytes `start` … `end` − 1, newly allocated; reading beyond the end is an error. */
async function bytesBetween(handle: FileHandle, start: number, end: number): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(end - start);
  for (let filled = 0; filled < bytes.length; ) {
    const { bytesRead } = await handle.read(bytes, filled, bytes.length - filled, start + filled);
    if (bytesRead === 0) throw new Error('it ends too early');
    filled += bytesRead;
  }
  return bytes;
}

/** Node's own where available; Snappy is built into hyparquet. None returns more than the allowed page size. */
export const COMPRESSORS: Compressors = {
  GZIP: (bytes, length) => unzipSync(bytes, { maxOutputLength: Math.max(1, length) }),
  BROTLI: (bytes, length) => brotliDecompressSync(bytes, { maxOutputLength: Math.max(1, length) }),
  ZSTD: (bytes, length) => {
    checkFrame(bytes, length);
    return decompressZstd(bytes);
  },
  LZ4: decompressLz4,
  LZ4_RAW: decompressLz4Raw,
};
