/** What a field of a FlatBuffers table refers to; fields that hold a number refer to nothing and are left out. */
export type Reference =
  | { readonly table: Fields }
  | { readonly tables: Fields }
  /** A vector of strings' bytes or of structs, of so many bytes each. */
  | { readonly items: number };
/** By the fields' numbers in the schema; a function, since tables may hold tables of their own kind. */
export type Fields = () => Readonly<Record<number, Reference | undefined>>;

/** Tables looked at, at most: tables may be shared, and a small file could describe a tree without end. */
const MOST_TABLES = 100_000;

/**
 * Checks that all a table refers to lies within its bytes (FlatBuffers internals: tables, vtables, vectors). Generated
 * readers trust these numbers: beyond the end they read nothing and say nothing, and the length of a vector that is
 * not there costs as many turns of a loop.
 *
 * @throws RangeError where something lies outside
 */
export class FlatbufferCheck {
  private readonly view: DataView;
  private tables = 0;

  constructor(bytes: Uint8Array) {
    this.view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  }

  /** The root table's place, checked. */
  root(fields: Fields): number {
    const at = this.view.getUint32(0, true);
    this.table(at, fields);
    return at;
  }

  /** The table that the field's place refers to, checked. */
  inner(at: number, fields: Fields): void {
    this.table(this.target(at), fields);
  }

  /** Place of field `number` of the table at `at`; undefined where it has none. */
  field(at: number, number: number): number | undefined {
    const vtable = at - this.view.getInt32(at, true);
    const entry = 4 + 2 * number;
    if (entry + 2 > this.view.getUint16(vtable, true)) return undefined;
    const offset = this.view.getUint16(vtable + entry, true);
    return offset === 0 ? undefined : at + offset;
  }

  /** What the field's place `at` refers to. */
  target(at: number): number {
    return at + this.view.getUint32(at, true);
  }

  /** First item and number of items of the vector that the field's place refers to. */
  vector(at: number): { first: number; length: number } {
    const start = this.target(at);
    return { first: start + 4, length: this.view.getUint32(start, true) };
  }

  uint8(at: number): number {
    return this.view.getUint8(at);
  }

  /** @throws RangeError where it is no number of something that exists: negative, or beyond any file */
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
