import { parquetHeader } from 'hyparquet/src/column.js';
import { snappyUncompress } from 'hyparquet/src/snappy.js';

// A decoder of numbers and lists of numbers into typed arrays. hyparquet's own returns an array per list, which takes
// ten times as long, and trusts every length in a file; here none is trusted.

/** Element types of a column. */
export type ColumnType = 'INT32' | 'INT64' | 'FLOAT' | 'DOUBLE' | 'BYTE_ARRAY';

/** Values of a column for some rows: INT64 as numbers, BYTE_ARRAY as text. */
export interface DecodedColumn<V extends ColumnValues = ColumnValues> {
  readonly values: V;
  /** For lists [rows + 1]: row i has values offsets[i] … offsets[i + 1] − 1. Null if each row has one value. */
  readonly offsets: Int32Array | null;
}
export type ColumnValues = Int32Array | Float32Array | Float64Array | string[];

/** A file's metadata of a column in one row group. */
export interface ColumnChunk {
  readonly type: ColumnType;
  /** Definition level of a value, and of an entry of the list; 0 if each row has exactly one value. */
  readonly maxDefinition: number;
  /** 0: not a list. */
  readonly listDefinition: number;
  readonly codec: 'SNAPPY' | 'UNCOMPRESSED';
  readonly rows: number;
  /** Number of values, with an empty list counted as one. */
  readonly entries: number;
}

/** Max entries to decode per chunk. */
export const MOST_DECODED = 2 ** 23;
/** Max bytes of a page. */
const MOST_PAGE = 2 ** 27;
/** Max values of a dictionary. */
const MOST_DICTIONARY = 2 ** 22;
/** Snappy writes a copy of 64 bytes into 3: anything claiming a higher compression is damaged. */
const TIGHTEST = 64;

const ARRAYS = { INT32: Int32Array, FLOAT: Float32Array, DOUBLE: Float64Array, INT64: BigInt64Array } as const;

/** Rows of a row group: first, and last (exclusive). */
export type RowRange = readonly [from: number, to: number];

/**
 * Decodes a column in a row group.
 *
 * @param bytes its dictionary and pages
 * @param range wanted rows; all by default
 * @throws Error describing what is wrong with the bytes
 */
export function decodeColumn(bytes: Uint8Array, chunk: ColumnChunk, range: RowRange = [0, chunk.rows]): DecodedColumn {
  if (!(chunk.entries >= 0 && chunk.entries <= MOST_DECODED))
    throw new Error(`a column claims ${chunk.entries} values`);
  const reader = { view: new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), offset: 0 };
  const sink = new Sink(chunk, range);
  let dictionary: ColumnValues | undefined;
  while (!sink.complete) {
    if (reader.offset >= bytes.length) throw new Error('a column ends before its last row');
    const header = parquetHeader(reader);
    const packed = header.compressed_page_size;
    if (!(packed >= 0 && packed <= bytes.length - reader.offset)) throw new Error('a page reaches beyond its column');
    const page = bytes.subarray(reader.offset, reader.offset + packed);
    reader.offset += packed;
    const whole = header.uncompressed_page_size;
    if (header.type === 'DICTIONARY_PAGE') {
      const count = header.dictionary_page_header?.num_values ?? -1;
      if (!(count >= 0 && count <= MOST_DICTIONARY)) throw new Error(`a dictionary claims ${count} values`);
      dictionary = plainValues(unpacked(page, whole, chunk.codec), chunk.type, [0, count]);
    } else if (header.data_page_header_v2) {
      takePage2(sink, page, whole, header.data_page_header_v2, dictionary);
    } else if (header.data_page_header) {
      takePage1(sink, unpacked(page, whole, chunk.codec), header.data_page_header, dictionary);
    } else if (header.type !== 'INDEX_PAGE') throw new Error('a page is of an unknown kind');
  }
  return sink.column();
}

/** Decoded so far. */
class Sink {
  /** Entries of the pages so far, and rows started in them. */
  entries = 0;
  private rows = 0;
  /** Values kept. */
  private count = 0;
  private readonly parts: ColumnValues[] = [];
  private readonly offsets: Int32Array | null;

  constructor(
    readonly chunk: ColumnChunk,
    private readonly range: RowRange,
  ) {
    const { rows, entries, listDefinition } = chunk;
    if (listDefinition === 0 && rows !== entries) throw new Error('a column has another number of values than rows');
    this.offsets = listDefinition === 0 ? null : new Int32Array(range[1] - range[0] + 1);
  }

  /** Has everything wanted been decoded? */
  get complete(): boolean {
    return this.entries >= this.chunk.entries || (this.rows > this.range[1] && this.range[1] < this.chunk.rows);
  }

  /**
   * Adds the entries of a page.
   *
   * @param repetition per entry, 0 if it begins a row; null without lists
   * @param definition per entry; null if every entry has a value
   * @param valuesOf returns a range of the page's values
   */
  take(
    entries: number,
    repetition: Uint8Array | null,
    definition: Uint8Array | null,
    valuesOf: (range: RowRange) => ColumnValues,
  ): void {
    const wanted = repetition ? this.listRange(entries, repetition, definition) : this.flatRange(entries, definition);
    this.entries += entries;
    const count = wanted[1] - wanted[0];
    if (count <= 0) return;
    const values = valuesOf(wanted);
    if (values.length !== count) throw new Error('a page does not have the values that it claims');
    this.parts.push(values);
    this.count += count;
  }

  /** Which values of a page are wanted, if each row has one. */
  private flatRange(entries: number, definition: Uint8Array | null): RowRange {
    const { maxDefinition } = this.chunk;
    for (let i = 0; definition && i < entries; i++)
      if (definition[i] !== maxDefinition) throw new Error('a column has nulls');
    const before = this.rows;
    this.rows += entries;
    const [from, to] = this.range;
    return [Math.max(0, from - before), Math.min(entries, to - before)];
  }

  /** The same for lists, recording where each of them begins. */
  private listRange(entries: number, repetition: Uint8Array, definition: Uint8Array | null): RowRange {
    const { maxDefinition, listDefinition, rows: all } = this.chunk;
    const [from, to] = this.range;
    const offsets = this.offsets!;
    let found = 0;
    // A row may have begun on the previous page.
    let first = this.rows > from && this.rows <= to ? 0 : -1;
    let end = -1;
    for (let i = 0; i < entries; i++) {
      if (repetition[i] === 0) {
        const row = this.rows++;
        if (row >= all) throw new Error('a column has more rows than its group');
        if (row === from) first = found;
        if (row === to) end = found;
        if (row >= from && row <= to) offsets[row - from] = this.count + found - first;
      } else if (this.rows === 0) throw new Error('a column begins within a row');
      const level = definition === null ? maxDefinition : definition[i]!;
      if (level === maxDefinition) found++;
      else if (level >= listDefinition) throw new Error('a column has nulls');
    }
    return first < 0 ? [0, 0] : [first, end < 0 ? found : end];
  }

  column(): DecodedColumn {
    const { chunk, offsets, count, parts, range } = this;
    if (this.rows < range[1]) throw new Error('a column has fewer rows than its group');
    if (offsets) offsets[range[1] - range[0]] = count;
    if (parts.length === 1) return { values: parts[0]!, offsets };
    if (chunk.type === 'BYTE_ARRAY') return { values: (parts as string[][]).flat(), offsets };
    const values = chunk.type === 'INT64' ? new Float64Array(count) : new ARRAYS[chunk.type](count);
    let at = 0;
    for (const part of parts as Float64Array[]) {
      (values as Float64Array).set(part, at);
      at += part.length;
    }
    return { values: values as ColumnValues, offsets };
  }
}

interface PageFacts {
  readonly num_values: number;
  readonly encoding: string;
}

const levelBits = (most: number) => 32 - Math.clz32(most);

function checkEntries(sink: Sink, { num_values: entries }: PageFacts): void {
  if (!(entries >= 0 && entries <= sink.chunk.entries - sink.entries))
    throw new Error('a page has more values than its column');
}

/** A data page of version 2: levels come before the compressed part. */
function takePage2(
  sink: Sink,
  page: Uint8Array,
  whole: number,
  facts: PageFacts & {
    readonly repetition_levels_byte_length: number;
    readonly definition_levels_byte_length: number;
    readonly is_compressed?: boolean;
  },
  dictionary: ColumnValues | undefined,
): void {
  checkEntries(sink, facts);
  const { chunk } = sink;
  const { repetition_levels_byte_length: repeated, definition_levels_byte_length: defined } = facts;
  const levels = repeated + defined;
  if (!(repeated >= 0 && defined >= 0 && levels <= page.length)) throw new Error('levels reach beyond their page');
  const entries = facts.num_values;
  const repetition = chunk.listDefinition > 0 ? levelsIn(0, page, [0, repeated], 1, entries) : null;
  const definition =
    chunk.maxDefinition > 0 ? levelsIn(1, page, [repeated, levels], levelBits(chunk.maxDefinition), entries) : null;
  const rest = page.subarray(levels);
  const packed = facts.is_compressed === false ? 'UNCOMPRESSED' : chunk.codec;
  sink.take(entries, repetition, definition, (range) =>
    encodedValues(unpacked(rest, whole - levels, packed), facts.encoding, chunk.type, range, dictionary),
  );
}

/** A data page of version 1: all of it is compressed, and levels are prefixed by their length. */
function takePage1(sink: Sink, page: Uint8Array, facts: PageFacts, dictionary: ColumnValues | undefined): void {
  checkEntries(sink, facts);
  const { chunk } = sink;
  const entries = facts.num_values;
  let at = 0;
  const next = (which: 0 | 1, bits: number) => {
    if (at + 4 > page.length) throw new Error('levels reach beyond their page');
    const length = new DataView(page.buffer, page.byteOffset + at).getUint32(0, true);
    if (length > page.length - at - 4) throw new Error('levels reach beyond their page');
    at += 4 + length;
    return levelsIn(which, page, [at - length, at], bits, entries);
  };
  const repetition = chunk.listDefinition > 0 ? next(0, 1) : null;
  const definition = chunk.maxDefinition > 0 ? next(1, levelBits(chunk.maxDefinition)) : null;
  sink.take(entries, repetition, definition, (range) =>
    encodedValues(page.subarray(at), facts.encoding, chunk.type, range, dictionary),
  );
}

function unpacked(page: Uint8Array, whole: number, codec: ColumnChunk['codec']): Uint8Array {
  if (!(whole >= 0 && whole <= MOST_PAGE && whole <= TIGHTEST * (page.length + 1)))
    throw new Error(`a page claims ${whole} bytes`);
  if (codec === 'UNCOMPRESSED') {
    if (page.length !== whole) throw new Error('a page does not have the bytes that it claims');
    return page;
  }
  const bytes = whole <= SCRATCH ? scratch.unpacked.subarray(0, whole) : new Uint8Array(whole);
  if (whole > 0) snappyUncompress(page, bytes);
  return bytes;
}

/** A range of a page's values. */
function encodedValues(
  bytes: Uint8Array,
  encoding: string,
  type: ColumnType,
  range: RowRange,
  dictionary: ColumnValues | undefined,
): ColumnValues {
  if (encoding === 'PLAIN') return plainValues(bytes, type, range);
  if (encoding !== 'RLE_DICTIONARY' && encoding !== 'PLAIN_DICTIONARY')
    throw new Error(`a page is encoded as ${encoding}, which is not supported`);
  if (!dictionary) throw new Error('a page has no dictionary');
  const [from, to] = range;
  const width = bytes[0] ?? 255;
  if (width > 24) throw new Error('a page has places that are too wide');
  if (scratch.places.length < to) scratch.places = new Uint32Array(to);
  const places = scratch.places.subarray(0, to);
  if (width === 0) places.fill(0);
  runs(bytes, 1, bytes.length, width, places);
  const count = to - from;
  const values = Array.isArray(dictionary)
    ? new Array<string>(count)
    : new (dictionary.constructor as Float64ArrayConstructor)(count);
  const last = dictionary.length;
  for (let i = 0; i < count; i++) {
    const place = places[from + i]!;
    if (place >= last) throw new Error('a page names a place beyond its dictionary');
    values[i] = dictionary[place] as never;
  }
  return values;
}

function plainValues(bytes: Uint8Array, type: ColumnType, [from, to]: RowRange): ColumnValues {
  if (type === 'BYTE_ARRAY') return plainTexts(bytes, to).slice(from);
  const array = ARRAYS[type];
  const size = array.BYTES_PER_ELEMENT;
  if (to * size > bytes.length) throw new Error('a page does not have the values that it claims');
  // A copy: values may be unaligned, and the decompression buffer is reused.
  const copy = bytes.slice(from * size, to * size).buffer;
  if (type !== 'INT64') return new array(copy) as ColumnValues;
  const integers = new BigInt64Array(copy);
  const values = new Float64Array(integers.length);
  for (let i = 0; i < values.length; i++) values[i] = Number(integers[i]!);
  return values;
}

function plainTexts(bytes: Uint8Array, count: number): string[] {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const texts: string[] = [];
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (at + 4 > buffer.length) throw new Error('a page does not have the values that it claims');
    const end = at + 4 + buffer.readUInt32LE(at);
    if (end > buffer.length) throw new Error('a text reaches beyond its page');
    texts.push(buffer.toString('utf8', at + 4, end));
    at = end;
  }
  return texts;
}

/** Max bytes of a page that is decompressed into reused memory. */
const SCRATCH = 2 ** 22;

/**
 * Scratch memory overwritten by every page: decoding the page of one feature needs much more memory than is kept.
 * Decoding is synchronous, so only one column uses it at a time.
 */
const scratch = {
  unpacked: new Uint8Array(SCRATCH),
  levels: [new Uint8Array(0), new Uint8Array(0)] as [Uint8Array, Uint8Array],
  places: new Uint32Array(0),
};

/** @param which repetition levels or definition levels */
function levelsIn(which: 0 | 1, bytes: Uint8Array, [from, to]: RowRange, width: number, count: number): Uint8Array {
  if (scratch.levels[which].length < count) scratch.levels[which] = new Uint8Array(count);
  const levels = scratch.levels[which].subarray(0, count);
  runs(bytes, from, to, width, levels);
  return levels;
}

/** Decodes the hybrid run-length / bit-packed data in bytes [from, to) into `into`, values of `width` bits. */
function runs(bytes: Uint8Array, from: number, to: number, width: number, into: Uint8Array | Uint32Array): void {
  if (width === 0) return;
  const mask = 2 ** width - 1;
  const valueBytes = (width + 7) >> 3;
  let at = from;
  for (let done = 0; done < into.length; ) {
    let header = 0;
    for (let shift = 0; ; shift += 7) {
      if (at >= to || shift > 28) throw new Error('a run is cut short');
      const byte = bytes[at++]!;
      header += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) break;
    }
    const packed = header % 2 === 1;
    const half = Math.floor(header / 2);
    const count = Math.min(packed ? half * 8 : half, into.length - done);
    if (at + (packed ? Math.ceil((count * width) / 8) : valueBytes) > to) throw new Error('a run is cut short');
    if (packed) {
      unpackBits(bytes, at, width, mask, into.subarray(done, done + count));
      at = Math.min(to, at + half * width);
    } else {
      let value = 0;
      for (let b = 0; b < valueBytes; b++) value |= bytes[at + b]! << (8 * b);
      into.fill(value, done, done + count);
      at += valueBytes;
    }
    done += count;
  }
}

function unpackBits(
  bytes: Uint8Array,
  from: number,
  width: number,
  mask: number,
  into: Uint8Array | Uint32Array,
): void {
  if (width === 1) {
    for (let i = 0; i < into.length; i++) into[i] = (bytes[from + (i >> 3)]! >> (i & 7)) & 1;
    return;
  }
  let at = from;
  let bits = 0;
  let data = 0;
  for (let i = 0; i < into.length; i++) {
    while (bits < width) {
      data |= bytes[at++]! << bits;
      bits += 8;
    }
    into[i] = data & mask;
    data >>>= width;
    bits -= width;
  }
}
