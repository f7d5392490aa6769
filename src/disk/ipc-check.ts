// Field numbers in the tables of Arrow's IPC format (Schema.fbs, Message.fbs, File.fbs) that refer to other data.
const STRING = { items: 1 };
const keyValue: Fields = () => ({ 0: STRING, 1: STRING });
const field: Fields = () => ({ 0: STRING, 5: { tables: field }, 6: { tables: keyValue } });
const schema: Fields = () => ({ 1: { tables: field }, 2: { tables: keyValue }, 3: { items: 8 } });
const NODES = 1;
const BUFFERS = 2;
const COMPRESSION = 3;
const recordBatch: Fields = () => ({ [NODES]: { items: 16 }, [BUFFERS]: { items: 16 }, 4: { items: 8 } });
const message: Fields = () => ({ 4: { tables: keyValue } });
const DICTIONARIES = 2;
const BATCHES = 3;
const footer: Fields = () => ({
  1: { table: schema },
  [DICTIONARIES]: { items: 24 },
  [BATCHES]: { items: 24 },
  4: { tables: keyValue },
});

const [SCHEMA_HEADER, DICTIONARY_HEADER, BATCH_HEADER] = [1, 2, 3];

/** Valid Arrow that other programs may write but that is not supported here. The message describes the feature. */
export class UnsupportedIpc extends RangeError {}

/**
 * Validates a message's metadata before passing it to a reader that trusts it: references stay within the metadata,
 * rows and buffers within the body. Refuses dictionaries, compressed buffers and big-endian data.
 *
 * @returns bytes of the body
 * @throws RangeError if invalid
 */
export function checkMessage(metadata: Uint8Array): number {
  const check = new FlatbufferCheck(metadata);
  const at = check.root(message);
  const bodyAt = check.field(at, 3);
  const body = bodyAt === undefined ? 0 : check.count(bodyAt);
  const [typeAt, headerAt] = [check.field(at, 1), check.field(at, 2)];
  const type = typeAt === undefined ? 0 : check.uint8(typeAt);
  if (type === DICTIONARY_HEADER) throw new UnsupportedIpc('it has dictionary-encoded columns');
  if (headerAt === undefined || (type !== SCHEMA_HEADER && type !== BATCH_HEADER)) {
    throw new RangeError('neither a schema nor a record batch');
  }
  check.inner(headerAt, type === SCHEMA_HEADER ? schema : recordBatch);
  if (type === SCHEMA_HEADER) checkSchema(check, check.target(headerAt));
  if (type === BATCH_HEADER) checkBatch(check, check.target(headerAt), body);
  return body;
}

function checkSchema(check: FlatbufferCheck, at: number): void {
  const endianness = check.field(at, 0);
  if (endianness !== undefined && check.uint8(endianness) !== 0) throw new UnsupportedIpc('it is big-endian');
}

function checkBatch(check: FlatbufferCheck, at: number, body: number): void {
  if (check.field(at, COMPRESSION) !== undefined) throw new UnsupportedIpc('its buffers are compressed');
  const rowsAt = check.field(at, 0);
  // A row takes at least one bit.
  const within = (count: number) => {
    if (count > 8 * body) throw new RangeError(`${count} rows in ${body} bytes`);
  };
  within(rowsAt === undefined ? 0 : check.count(rowsAt));
  for (const item of items(check, check.field(at, NODES), 16)) {
    within(check.count(item));
    within(check.count(item + 8));
  }
  for (const item of items(check, check.field(at, BUFFERS), 16)) {
    if (check.count(item) + check.count(item + 8) > body) throw new RangeError('a buffer lies outside the body');
  }
}

function items(check: FlatbufferCheck, at: number | undefined, size: number): number[] {
  if (at === undefined) return [];
  const { first, length } = check.vector(at);
  return Array.from({ length }, (_, i) => first + size * i);
}

const MAGIC = Buffer.from('ARROW1');

/**
 * Validates the footer of an Arrow IPC file and every record batch it lists.
 *
 * @throws RangeError if it is not such a file, or something lies outside of it
 */
export function checkIpcFile(bytes: Uint8Array): void {
  const file = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const end = file.length - MAGIC.length;
  if (!file.subarray(0, MAGIC.length).equals(MAGIC) || !file.subarray(end).equals(MAGIC)) {
    throw new RangeError('its magic is missing');
  }
  const length = file.readInt32LE(end - 4);
  if (length <= 0 || length > end - 4 - MAGIC.length) throw new RangeError(`a footer of ${length} bytes`);
  const check = new FlatbufferCheck(file.subarray(end - 4 - length, end - 4));
  const at = check.root(footer);
  const schemaAt = check.field(at, 1);
  if (schemaAt !== undefined) checkSchema(check, check.target(schemaAt));
  if (items(check, check.field(at, DICTIONARIES), 24).length > 0) {
    throw new UnsupportedIpc('it has dictionary-encoded columns');
  }
  const blocks = items(check, check.field(at, BATCHES), 24);
  for (const block of blocks) {
    const at = check.count(block);
    // Since Arrow 0.15 a message begins with a continuation marker and its metadata length.
    const metadata = file.readInt32LE(at + 4);
    const body = at + 8 + metadata;
    if (file.readInt32LE(at) !== -1 || metadata < 0 || body > file.length) throw new RangeError('no message');
    if (body + checkMessage(file.subarray(at + 8, body)) > file.length) throw new RangeError('a body is cut off');
  }
}

/** What a FlatBuffers field refers to; fields holding plain numbers refer to nothing and are omitted. */
type Reference =
  | { readonly table: Fields }
  | { readonly tables: Fields }
  /** A vector of bytes or structs of this size in bytes. */
  | { readonly items: number };
/** By field number in the schema; a function, since tables may nest recursively. */
type Fields = () => Readonly<Record<number, Reference | undefined>>;

/** Max tables to visit: tables may be shared, so a small file could describe an endless tree. */
const MOST_TABLES = 100_000;

/**
 * Checks that everything a table refers to lies within its bytes (FlatBuffers internals: tables, vtables, vectors).
 * Generated readers trust these numbers: beyond the end they silently read nothing, and a bogus vector length costs
 * that many iterations.
 *
 * @throws RangeError if something lies outside
 */
class FlatbufferCheck {
  private readonly view: DataView;
  private tables = 0;

  constructor(bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** Offset of the root table, checked. */
  root(fields: Fields): number {
    const at = this.view.getUint32(0, true);
    this.table(at, fields);
    return at;
  }

  /** Offset of the table that the field at this offset refers to, checked. */
  inner(at: number, fields: Fields): void {
    this.table(this.target(at), fields);
  }

  /** Offset of field `number` of the table at `at`; undefined if absent. */
  field(at: number, number: number): number | undefined {
    const vtable = at - this.view.getInt32(at, true);
    const entry = 4 + 2 * number;
    if (entry + 2 > this.view.getUint16(vtable, true)) return undefined;
    const offset = this.view.getUint16(vtable + entry, true);
    return offset === 0 ? undefined : at + offset;
  }

  /** Target of the reference at `at`. */
  target(at: number): number {
    return at + this.view.getUint32(at, true);
  }

  /** First item and length of the vector that the field at this offset refers to. */
  vector(at: number): { first: number; length: number } {
    const start = this.target(at);
    return { first: start + 4, length: this.view.getUint32(start, true) };
  }

  uint8(at: number): number {
    return this.view.getUint8(at);
  }

  /** @throws RangeError if it is not a plausible count: negative, or larger than any file */
  count(at: number): number {
    const value = this.view.getBigInt64(at, true);
    if (value < 0n || value > BigInt(Number.MAX_SAFE_INTEGER)) throw new RangeError(`a count is ${value}`);
    return Number(value);
  }

  private table(at: number, fields: Fields): void {
    if (++this.tables > MOST_TABLES) throw new RangeError(`more than ${MOST_TABLES} tables`);
    for (const [number, reference] of Object.entries(fields())) {
      const place = this.field(at, Number(number));
      if (place !== undefined && reference !== undefined) this.reference(place, reference);
    }
  }

  private reference(at: number, reference: Reference): void {
    if ('table' in reference) {
      this.table(this.target(at), reference.table);
      return;
    }
    const { first, length } = this.vector(at);
    const size = 'tables' in reference ? 4 : reference.items;
    if (first + length * size > this.view.byteLength) throw new RangeError(`a vector of ${length} lies outside`);
    if (!('tables' in reference)) return;
    for (let i = 0; i < length; i++) this.table(this.target(first + 4 * i), reference.tables);
  }
}
