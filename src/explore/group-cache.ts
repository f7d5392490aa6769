import type { ParquetTable } from './parquet-table.js';

/** Max bytes of cached row groups. */
const KEPT_BYTES = 2 ** 26;

type GroupBytes = Readonly<Record<string, Uint8Array>>;

/** Cache of recently read row groups, as stored: adjacent features are requested together. */
export class GroupCache {
  private readonly groups = new Map<string, { readonly group: Promise<GroupBytes>; bytes: number }>();
  private bytes = 0;

  constructor(private readonly most = KEPT_BYTES) {}

  /** Bytes of a row group's columns; always the same columns for one file. */
  async read<Name extends string>(
    table: ParquetTable,
    group: number,
    names: readonly Name[],
  ): Promise<Readonly<Record<Name, Uint8Array>>> {
    const key = `${group} ${table.path}`;
    const found = this.groups.get(key);
    if (found) {
      this.groups.delete(key);
      this.groups.set(key, found);
      return found.group as Promise<Record<Name, Uint8Array>>;
    }
    const entry = { group: table.bytes(group, names) as Promise<GroupBytes>, bytes: 0 };
    this.groups.set(key, entry);
    try {
      const columns = await entry.group;
      // It may have been evicted meanwhile.
      if (this.groups.get(key) === entry) this.count(entry, sizeOf(columns));
      return columns as Record<Name, Uint8Array>;
    } catch (error) {
      if (this.groups.get(key) === entry) this.groups.delete(key);
      throw error;
    }
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

const sizeOf = (group: GroupBytes) => Object.values(group).reduce((sum, { byteLength }) => sum + byteLength, 0);
