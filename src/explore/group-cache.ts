import type { DecodedColumn } from './parquet-column.js';
import type { ParquetTable } from './parquet-table.js';

/** Bytes of decoded row groups that are kept. */
const KEPT_BYTES = 2 ** 26;

type Group = Readonly<Record<string, DecodedColumn>>;

/** Row groups that were read last, decoded: features that lie together are asked for together. */
export class GroupCache {
  private readonly groups = new Map<string, { readonly group: Promise<Group>; bytes: number }>();
  private readonly kept = new WeakMap<ParquetTable, Int32Array>();
  private bytes = 0;

  constructor(private readonly most = KEPT_BYTES) {}

  /** Columns of a row group: of one file always the same columns. */
  async read<Name extends string>(
    table: ParquetTable,
    group: number,
    names: readonly Name[],
  ): Promise<Readonly<Record<Name, DecodedColumn>>> {
    const key = `${group} ${table.path}`;
    const found = this.groups.get(key);
    if (found) {
      this.groups.delete(key);
      this.groups.set(key, found);
      return found.group as Promise<Record<Name, DecodedColumn>>;
    }
    const entry = { group: table.read(group, names) as Promise<Group>, bytes: 0 };
    this.groups.set(key, entry);
    try {
      const columns = await entry.group;
      // It may have been dropped meanwhile.
      if (this.groups.get(key) === entry) this.count(entry, sizeOf(columns));
      return columns as Record<Name, DecodedColumn>;
    } catch (error) {
      if (this.groups.get(key) === entry) this.groups.delete(key);
      throw error;
    }
  }

  /** Small facts of a file, made once. */
  facts(table: ParquetTable, make: () => Int32Array): Int32Array {
    const facts = this.kept.get(table) ?? make();
    this.kept.set(table, facts);
    return facts;
  }

  private count(entry: { bytes: number }, bytes: number): void {
    entry.bytes = bytes;
    this.bytes += bytes;
    for (const [key, oldest] of this.groups) {
      if (this.bytes <= this.most) break;
      this.groups.delete(key);
      this.bytes -= oldest.bytes;
    }
  }
}

function sizeOf(group: Group): number {
  let bytes = 0;
  for (const { values, offsets } of Object.values(group)) {
    bytes += Array.isArray(values) ? 64 * values.length : values.byteLength;
    bytes += offsets?.byteLength ?? 0;
  }
  return bytes;
}
