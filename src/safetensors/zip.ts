import type { FileHandle } from 'node:fs/promises';

// Zip archives as written by torch.save and numpy.savez: uncompressed, so that each entry is a range of the file.
// Nothing is decompressed: compressed entries are refused.

/** Max bytes of an archive's directory, and of any part read into memory. */
const MOST_BYTES = 2 ** 24;

/** Location of an entry's bytes in the archive. */
export interface ZipEntry {
  readonly offset: number;
  readonly size: number;
}

/**
 * Entries of an archive by name, in the order of its directory.
 *
 * @param size of the file in bytes
 * @param refuse called for anything unsupported, with a phrase to follow "has"; never returns
 * @throws RangeError if the archive ends early or is inconsistent
 */
export async function zipEntries(
  handle: FileHandle,
  size: number,
  refuse: (what: string) => never,
): Promise<Map<string, ZipEntry>> {
  const { count, place } = await endOfDirectory(handle, size);
  const directory = await readZipBytes(handle, place);
  const entries = new Map<string, ZipEntry>();
  let at = 0;
  for (let i = 0; i < count; i++) {
    if (directory.readUInt32LE(at) !== 0x02014b50) throw new RangeError('its directory is damaged');
    const [nameLength, extra, comment] = [28, 30, 32].map((field) => directory.readUInt16LE(at + field)) as [
      number,
      number,
      number,
    ];
    const name = directory.toString('utf8', at + 46, at + 46 + nameLength);
    const rest = directory.subarray(at + 46 + nameLength, at + 46 + nameLength + extra);
    const { packed, length, local } = wideNumbers(directory, at, rest);
    if (directory.readUInt16LE(at + 10) !== 0 || packed !== length) {
      refuse(`the compressed entry ${JSON.stringify(name)}`);
    }
    if (entries.has(name)) throw new RangeError(`it has ${JSON.stringify(name)} twice`);
    entries.set(name, { offset: await dataOffset(handle, local), size: length });
    at += 46 + nameLength + extra + comment;
  }
  for (const [name, entry] of entries) {
    if (entry.offset + entry.size > size) throw new RangeError(`${name} ends beyond it`);
  }
  return entries;
}

/** The bytes of a small entry. @throws RangeError if it is large, or the file ends early */
export async function readZipBytes(handle: FileHandle, { offset, size }: ZipEntry): Promise<Buffer> {
  if (!(size <= MOST_BYTES)) throw new RangeError(`a part has ${size} bytes`);
  const bytes = Buffer.alloc(size);
  const { bytesRead } = await handle.read(bytes, 0, size, offset);
  if (bytesRead < size) throw new RangeError('it ends early');
  return bytes;
}

/** Location of the directory, and its number of entries. */
async function endOfDirectory(handle: FileHandle, size: number): Promise<{ count: number; place: ZipEntry }> {
  const tailSize = Math.min(size, 2 ** 16 + 22);
  const tail = await readZipBytes(handle, { offset: size - tailSize, size: tailSize });
  const end = tail.lastIndexOf(Buffer.from('PK\x05\x06', 'latin1'));
  if (end < 0) throw new RangeError('it is not a zip archive');
  const count = tail.readUInt16LE(end + 10);
  const place = { size: tail.readUInt32LE(end + 12), offset: tail.readUInt32LE(end + 16) };
  if (count !== 0xffff && place.size !== WIDE && place.offset !== WIDE) return { count, place };
  // ZIP64: an earlier record has the same fields in 64 bits; its locator is 20 bytes before the end.
  const locator = end - 20;
  if (locator < 0 || tail.readUInt32LE(locator) !== 0x07064b50) throw new RangeError('its directory is damaged');
  const record = await readZipBytes(handle, { offset: wide(tail, locator + 8), size: 56 });
  if (record.readUInt32LE(0) !== 0x06064b50) throw new RangeError('its directory is damaged');
  return { count: wide(record, 32), place: { size: wide(record, 40), offset: wide(record, 48) } };
}

/** Marks a number stored in 64 bits elsewhere. */
const WIDE = 0xffffffff;

function wide(bytes: Buffer, at: number): number {
  const value = Number(bytes.readBigUInt64LE(at));
  if (!Number.isSafeInteger(value)) throw new RangeError('its directory is damaged');
  return value;
}

/** Sizes and offset of an entry; 64-bit ones are in its extra field, in this order. */
function wideNumbers(directory: Buffer, at: number, extra: Buffer) {
  const [packed, length, local] = [20, 24, 42].map((field) => directory.readUInt32LE(at + field)) as [
    number,
    number,
    number,
  ];
  const found = { length, packed, local };
  if (![packed, length, local].includes(WIDE)) return found;
  for (let field = 0; field + 4 <= extra.length; field += 4 + extra.readUInt16LE(field + 2)) {
    if (extra.readUInt16LE(field) !== 1) continue;
    let next = field + 4;
    for (const key of ['length', 'packed', 'local'] as const) {
      if (found[key] !== WIDE) continue;
      found[key] = wide(extra, next);
      next += 8;
    }
    return found;
  }
  throw new RangeError('its directory is damaged');
}

/** Start of the bytes after an entry's own header. */
async function dataOffset(handle: FileHandle, local: number): Promise<number> {
  const header = await readZipBytes(handle, { offset: local, size: 30 });
  if (header.readUInt32LE(0) !== 0x04034b50) throw new RangeError('an entry is not where its directory says');
  return local + 30 + header.readUInt16LE(26) + header.readUInt16LE(28);
}
