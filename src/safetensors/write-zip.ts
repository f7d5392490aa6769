import type { FileHandle } from 'node:fs/promises';
import { writeAside } from '../disk/output-file.js';
import { Refusal } from '../errors/refusal.js';

/** An entry of an archive, whose bytes are produced when it is written. */
export interface ZipPart {
  readonly name: string;
  readonly read: () => Promise<Uint8Array>;
}

const TABLE = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? 0xedb88320 ^ (value >>> 1) : value >>> 1;
  return value;
});

/** CRC-32 of zip archives. */
function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (let i = 0; i < bytes.length; i++) crc = TABLE[(crc ^ bytes[i]!) & 0xff]! ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

/** The timestamp of all entries, 1 January 1980: equal contents give equal bytes. */
const DATE = 0x21;

/** Fields shared by an entry's own header and the directory, from the version on. */
function fields(crc: number, size: number, name: Buffer): Buffer {
  const bytes = Buffer.alloc(26);
  bytes.writeUInt16LE(20, 0);
  bytes.writeUInt16LE(DATE, 8);
  bytes.writeUInt32LE(crc, 10);
  bytes.writeUInt32LE(size, 14);
  bytes.writeUInt32LE(size, 18);
  bytes.writeUInt16LE(name.length, 22);
  return bytes;
}

/**
 * Writes an uncompressed zip archive atomically.
 *
 * @throws Refusal if it would have 4 GiB or more
 */
export async function writeZip(path: string, parts: readonly ZipPart[]): Promise<void> {
  await writeAside(path, async (file: FileHandle) => {
    const directory: Buffer[] = [];
    let offset = 0;
    for (const { name: text, read } of parts) {
      const bytes = await read();
      const name = Buffer.from(text);
      const shared = fields(crc32(bytes), bytes.length, name);
      const head = Buffer.concat([Buffer.from('PK\x03\x04', 'latin1'), shared, name]);
      const rest = Buffer.alloc(14);
      rest.writeUInt32LE(offset, 10);
      directory.push(Buffer.from('PK\x01\x02\x14\x00', 'latin1'), shared, rest, name);
      offset += head.length + bytes.length;
      if (offset >= 0xffffffff) {
        throw new Refusal(
          `${path} would have 4 GiB or more, which this archive format does not support.`,
          'Choose an --as that writes safetensors.',
          'sae/not-convertible',
        );
      }
      await file.writeFile(head);
      await file.writeFile(bytes);
    }
    const entries = Buffer.concat(directory);
    const end = Buffer.alloc(22);
    end.write('PK\x05\x06', 'latin1');
    end.writeUInt16LE(parts.length, 8);
    end.writeUInt16LE(parts.length, 10);
    end.writeUInt32LE(entries.length, 12);
    end.writeUInt32LE(offset, 16);
    await file.writeFile(Buffer.concat([entries, end]));
  });
}
